"""The command line: compose and run a study, measure files made elsewhere, compare and submit, say what exists."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import edgeproof
from edgeproof import entry
from edgeproof.cli import devices as cli_devices
from edgeproof.cli import farm, publishing, signing
from edgeproof.config import cards
from edgeproof.config import compose as config_compose
from edgeproof.core import plugins
from edgeproof.paths import RECORDS
from edgeproof.study import repro as study_repro


def main() -> None:
    """The `edgeproof` command."""
    entry.run(lambda: run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Parse and dispatch; returns the exit code."""
    arguments = parsed(argv)
    code: int = arguments.function(arguments)
    return code


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """What a command line asks for; one that asks for nothing known ends the process."""
    return _parser()[0].parse_args(argv)


def verbs() -> set[str]:
    """The names of all commands."""
    return set(_parser()[1].choices)


def _parser() -> tuple[argparse.ArgumentParser, Any]:
    parser = argparse.ArgumentParser(prog="edgeproof", description=edgeproof.__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    compose = commands.add_parser("compose", help="compose a study of conf/ into params.yaml")
    compose.add_argument("overrides", nargs="*", help="Hydra overrides: study=digits distill.temperature=2")
    compose.add_argument("--print", action="store_true", help="print the composition, write nothing")
    compose.set_defaults(function=_compose)

    repro = commands.add_parser("repro", help="run a study with DVC and print its table")
    repro.add_argument("study", nargs="?", help="one of conf/study; the default study when left out")
    repro.add_argument("overrides", nargs="*", help="Hydra overrides")
    repro.set_defaults(function=_repro)

    bench = commands.add_parser("bench", help="measure model files that were made elsewhere and print their table")
    bench.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help=".tflite, .onnx, .xml, .pt2, .keras, .h5, or a SavedModel"
    )
    bench.add_argument("--device", default="local", help="one of devices/ (default: %(default)s)")
    bench.add_argument("--preset", default="standard", help="quick, standard or official (default: %(default)s)")
    bench.add_argument(
        "--data", type=Path, metavar="NPZ", help="x (N, ...) to feed, perhaps y (N,); else random inputs"
    )
    bench.add_argument("--runtimes", type=_names, help="such as onnx,openvino (default: the file's own)")
    bench.add_argument(
        "--schemes", type=_names, help="of models not lowered yet (default: fp32,fp16,int8-dynamic,int8-static)"
    )
    bench.add_argument(
        "--scenarios", type=_names, default=["single_stream", "offline"], help="LoadGen's, of conf/scenarios"
    )
    bench.add_argument("--output", metavar="NAME", help="the output to measure where a file has several")
    bench.add_argument(
        "--in-turns",
        action="store_true",
        help="only say how each compares with the first, a millisecond each in turn: good on restless machines",
    )
    bench.add_argument("--name", help="of the table and its directory (default: the first file's)")
    bench.set_defaults(function=_bench)

    compare = commands.add_parser("compare", help="say whether B is slower than A, from their records")
    compare.add_argument(
        "a", help="a cell (device/runtime/model/scheme), a directory of records, a device, commit or night"
    )
    compare.add_argument("b", help="another of the same kind")
    compare.add_argument("--records", type=Path, default=RECORDS, help="where the records lie (default: %(default)s)")
    compare.add_argument("--percent", type=_percent, default=50.0, help="percentile to compare (default: %(default)s)")
    compare.add_argument("--margin", type=_share, default=0.0, help="share that counts as no difference, such as 0.02")
    compare.add_argument("--unlike", action="store_true", help="compare unlike conditions too, and say what differs")
    compare.set_defaults(function=_compare)

    submit = commands.add_parser("submit", help="write an MLPerf submission from official records")
    submit.add_argument("--submitter", required=True, help="the organization that submits")
    submit.add_argument("--out", type=Path, required=True, help="directory to write")
    submit.add_argument("--records", type=Path, default=RECORDS, help="where the records lie (default: %(default)s)")
    submit.add_argument("--flavour", choices=["inference", "tiny"], default="inference", help="whose rules")
    submit.add_argument("--benchmark", help="MLPerf's benchmark that the task stands for (resnet; tiny: ic, kws, vww)")
    submit.set_defaults(function=_submit)

    validate = commands.add_parser("validate", help="list what is wrong with an MLPerf submission")
    validate.add_argument("root", type=Path, help="the directory that holds open/")
    validate.set_defaults(function=_validate)

    publishing.add_verbs(commands)
    cli_devices.add_verbs(commands)
    farm.add_verbs(commands)
    signing.add_verbs(commands)

    known = commands.add_parser("list", help="list studies, devices and every plugin")
    known.set_defaults(function=_list)
    return parser, commands


def _compose(arguments: argparse.Namespace) -> int:
    params = config_compose.compose(overrides=arguments.overrides)
    if arguments.print:
        print(config_compose.dump(params), end="")
    else:
        config_compose.write(params, " ".join(arguments.overrides))
        print(f"params.yaml holds study '{params.study}'. Run it with 'dvc repro'.")
    return 0


def _repro(arguments: argparse.Namespace) -> int:
    words = [word for word in (arguments.study, *arguments.overrides) if word is not None]
    study = None if not words or "=" in words[0] else words.pop(0)
    return study_repro.repro(study, words)


def _bench(arguments: argparse.Namespace) -> int:
    from edgeproof.bench import external

    chosen = {key: value for key, value in vars(arguments).items() if key not in ("files", "function")}
    table, directory = external.bench(arguments.files, external.Wishes(**chosen))
    print(table)
    print(f"Tables: {directory / 'tables'}/  records: {directory / 'records'}/")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from edgeproof.provenance import compare as provenance_compare

    given = [Path(side).is_dir() for side in (arguments.a, arguments.b)]
    code = 0 if all(given) else publishing.refreshed(arguments.records)
    told = provenance_compare.compare(
        arguments.a,
        arguments.b,
        arguments.records,
        percent=arguments.percent,
        margin=arguments.margin,
        unlike=arguments.unlike,
    )
    print(told)
    return code


def _submit(arguments: argparse.Namespace) -> int:
    from edgeproof import submission

    written = submission.submit(
        arguments.records,
        arguments.out,
        submitter=arguments.submitter,
        flavour=arguments.flavour,
        benchmark=arguments.benchmark,
    )
    print(f"{arguments.out} holds {len(written)} files, and 'edgeproof validate {arguments.out}' accepts them.")
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    from edgeproof import submission

    problems = submission.validate(arguments.root)
    for problem in problems:
        print(problem)
    print(f"{arguments.root}: {len(problems)} problem(s)" if problems else f"{arguments.root}: accepted")
    return 1 if problems else 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _percent(text: str) -> float:
    value = float(text)
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"a percentile lies between 0 and 100, not {text}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"a share lies between 0 and 1, not {text}")
    return value


def _list(arguments: argparse.Namespace) -> int:
    print(f"studies: {', '.join(config_compose.studies())}")
    print(f"devices: {', '.join(cards.names())}")
    for kind in plugins.SINGULAR:
        print(f"{kind}: {', '.join(plugins.names(kind))}")
    return 0


if __name__ == "__main__":
    main()
