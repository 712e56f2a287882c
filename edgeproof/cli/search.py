"""edgeproof search: find the smallest model that meets a target within a budget.

The command is a sweep with +search=smallest, whose keys its options set.
"""

from __future__ import annotations

import argparse
from typing import Any

from edgeproof.cli.options import split_names
from edgeproof.cli.smallest_search import STUDY


def add_commands(commands: Any) -> None:
    """Add `search` to the command line's parser."""
    parser = commands.add_parser("search", help="find the smallest model that meets a target within a budget")
    parser.add_argument("task", help="a task in conf/tasks")
    parser.add_argument(
        "--within",
        action="append",
        required=True,
        metavar="LIMIT",
        help="a limit such as size_kb=16 (1 kB is 1000 bytes), macs=1e6 or p50_us=200, or a device whose card has a "
        "budget; may be repeated",
    )
    parser.add_argument(
        "--target",
        type=float,
        required=True,
        help="the quality to reach, as tables show it: 90 for an accuracy of 90%%",
    )
    parser.add_argument("--runtime", help="the runtime of the artifact (default: that of the study)")
    parser.add_argument(
        "--networks",
        type=split_names,
        help="networks to choose from; the first is the teacher's, if the study names none",
    )
    parser.add_argument("--trials", type=int, help="how many candidates to train")
    parser.add_argument("--epochs", type=int, help="epochs of a full training (default: those of the study)")
    parser.add_argument(
        "--study",
        metavar="STUDY",
        help="the study whose settings the search varies (default: smallest_TASK if it exists, or else smallest)",
    )
    parser.add_argument("--seed", type=int, help="seed of the search (default: 0)")
    parser.add_argument("--workers", type=int, help="how many candidates to train in parallel (default: 1)")
    parser.add_argument("--save-as", metavar="STUDY", help="name of the study that is written for the winner")
    parser.add_argument("--ablation", action="store_true", help="also run the steps from the defaults to the winner")
    parser.set_defaults(function=_search)


def _search(arguments: argparse.Namespace) -> int:
    from edgeproof.cli import sweep

    return sweep.main(list_words(arguments))


def list_words(arguments: argparse.Namespace) -> list[str]:
    """Return the words of `edgeproof sweep` for the options of `edgeproof search`. Raises ConfigError."""
    from edgeproof.sweeps.smallest.constraints import DEVICE, parse_constraints

    limits = parse_constraints(arguments.within)
    study = _select_study(arguments.task, arguments.study)
    words = [f"+search={STUDY}", f"study={study}", f"task={arguments.task}", f"search.target={arguments.target!r}"]
    words += [f"++search.within.{name}={value}" for name, value in limits.items()]
    if DEVICE in limits:
        words.append(f"bench.devices=[{limits[DEVICE]}]")
    if arguments.runtime is not None:
        words.append(f"bench.runtimes=[{arguments.runtime}]")
    if arguments.networks is not None:
        words.append(f"search.networks=[{','.join(arguments.networks)}]")
    for key in ("trials", "seed", "save_as"):
        if (value := getattr(arguments, key)) is not None:
            words.append(f"search.{key}={value}")
    if arguments.epochs is not None:
        words += [f"train.epochs={arguments.epochs}", f"distill.epochs={arguments.epochs}"]
        words += [f"prune.epochs={max(1, arguments.epochs // 3)}"]
    if arguments.workers is not None:
        words.append(f"+workers={arguments.workers}")
    return [*words, "search.ablation=true"] if arguments.ablation else words


def _select_study(task: str, named: str | None) -> str:
    """Return the study that a search varies: the named one, that of the task, or the general one.

    A study that a search has written is no study to vary, whatever its name. Raises UnknownNameError.
    """
    from edgeproof.config import compose
    from edgeproof.core.errors import UnknownNameError
    from edgeproof.sweeps.smallest.study_file import is_written_by_search

    studies = compose.list_studies()
    if named is not None:
        if named not in studies:
            raise UnknownNameError("study", named, studies, f"To add one: conf/study/{named}.yaml.")
        return named
    task_study = f"{STUDY}_{task}"
    return task_study if task_study in studies and not is_written_by_search(task_study) else STUDY
