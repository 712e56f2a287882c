"""edgeproof search: find the smallest model that meets a target within a budget.

The command is a sweep with +search=smallest, whose keys its options set.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeproof.cli.options import split_names

if TYPE_CHECKING:
    from edgeproof.sweeps.points import ComposedPoint
    from edgeproof.sweeps.search_space import ChoiceAxis, RangeAxis
    from edgeproof.sweeps.smallest.choices import ChoiceSpace

    Axis = RangeAxis | ChoiceAxis
    # Parses a key's values in Hydra's grammar.
    ParseAxis = Callable[[str, str], Axis]

STUDY = "smallest"
NAME_DIGITS = 8


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
    parser.add_argument("--runtime", help="the runtime of the artifact (default: the one in conf/study/smallest.yaml)")
    parser.add_argument("--networks", type=split_names, help="networks to choose from, the teacher's first")
    parser.add_argument("--trials", type=int, help="how many candidates to train")
    parser.add_argument("--epochs", type=int, help="epochs of a full training (default: conf/study/smallest.yaml)")
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
    from edgeproof.sweeps.smallest.constraints import DEVICE, parse_constraint

    limits = dict(map(parse_constraint, arguments.within))
    words = [f"+search={STUDY}", f"study={STUDY}", f"task={arguments.task}", f"search.target={arguments.target!r}"]
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


def run_composed(
    point: ComposedPoint, search: Mapping[str, Any], name: str | None, workers: int, parse_axis: ParseAxis
) -> int:
    """Run a search with a goal, whose study Hydra has composed. Return its exit code.

    Raises ConfigError for wrong options, and for networks without a search space or of another task.
    """
    from edgeproof.config import compose as config_compose
    from edgeproof.config.validation import validate
    from edgeproof.sweeps.points import ComposedPoint
    from edgeproof.sweeps.smallest import run
    from edgeproof.sweeps.smallest.options import SmallestOptions

    options = validate(SmallestOptions, dict(search), "search (conf/search/*.yaml)")
    fixed = list(point.overrides)
    space = _build_space(options, fixed, point, parse_axis)
    teacher = f"models.teacher.network={next(iter(space.networks))}"

    def compose(words: Sequence[str]) -> ComposedPoint:
        overrides = (*fixed, teacher, *words)
        return ComposedPoint(overrides, config_compose.compose(None, overrides))

    identity = options.model_dump(exclude={"save_as", "ablation"})
    digest = hashlib.sha256(repr((sorted(fixed), identity)).encode()).hexdigest()[:NAME_DIGITS]
    name = name or f"{point.params.task.name}-{STUDY}-{digest}"
    return run.run_smallest(run.plan_search(name, options, space, point.params, compose), workers=workers)


def _build_space(options: Any, fixed: Sequence[str], point: ComposedPoint, parse_axis: ParseAxis) -> ChoiceSpace:
    from edgeproof.config import compose as config_compose
    from edgeproof.core.described_tasks import load_task
    from edgeproof.core.errors import ConfigError
    from edgeproof.data.task_checks import is_classification
    from edgeproof.paths import DATA
    from edgeproof.sweeps.smallest import choices

    if set(options.space) != set(choices.KEYS):
        raise ConfigError(
            f"search.space must have the keys {', '.join(choices.KEYS)} (given: {', '.join(options.space)})."
        )
    name = point.params.task.name
    task = load_task(name, DATA / name)
    definitions = config_compose.compose_content(fixed)["networks"]
    networks = {
        network: {key: parse_axis(key, grammar) for key, grammar in definition["search"].items()}
        for network, definition in _select_networks(options.networks, definitions, task).items()
    }
    has_teacher = is_classification(task) or hasattr(task, "distillation_loss")
    return choices.ChoiceSpace(
        networks=networks,
        defaults={network: definitions[network]["options"] for network in networks},
        keys={key: parse_axis(key, grammar) for key, grammar in options.space.items()},
        has_teacher=has_teacher,
    )


def _select_networks(names: Sequence[str], definitions: Mapping[str, Any], task: Any) -> dict[str, Any]:
    """Return the definitions of the networks that take the task's inputs.

    Raises UnknownNameError for an unknown network, and ConfigError for one without a search space and if none fits.
    """
    from edgeproof.core.errors import ConfigError, UnknownNameError
    from edgeproof.sweeps.smallest import fitting

    for name in names:
        if name not in definitions:
            raise UnknownNameError("network", name, definitions, f"To add one: conf/networks/{name}.yaml.")
        if not definitions[name].get("search"):
            spaces = ", ".join(sorted(key for key, definition in definitions.items() if definition.get("search")))
            raise ConfigError(
                f"network '{name}' has no search space. Add one to conf/networks/{name}.yaml, such as "
                f"'search: {{width: \"choice(16,24,32)\"}}'. Networks with one: {spaces}."
            )
    reasons = {name: fitting.explain_misfit(name, definitions[name]["options"], task) for name in names}
    fitting_names = [name for name in names if reasons[name] is None]
    if not fitting_names:
        listing = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise ConfigError(f"no network takes the inputs of this task. {listing}")
    return {name: definitions[name] for name in fitting_names}
