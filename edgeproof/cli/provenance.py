"""edgeproof explain | reproduce | compare | register | bundle: trace, rebuild, compare and release cells."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof.cli.failures import add_fail_on_option, list_failed_comparisons, report_failures
from edgeproof.cli.options import CELL, add_records_option, parse_number
from edgeproof.cli.output import show
from edgeproof.cli.records import refresh_store
from edgeproof.core.errors import EdgeproofError

if TYPE_CHECKING:
    from edgeproof.provenance.comparison_report import ComparisonReport


def add_commands(commands: Any) -> None:
    """Add the commands about single cells to the command line's parser."""
    explain = commands.add_parser("explain", help="show how a cell was made, or why one is slower or less accurate")
    explain.add_argument("cell", nargs="?", help=f"{CELL}; append a figure's name to list its records")
    explain.add_argument(
        "--slower", nargs=2, metavar=("A", "B"), help="explain by operators why cell B is slower than cell A"
    )
    explain.add_argument(
        "--less-accurate",
        nargs=2,
        metavar=("A", "B"),
        help="explain by layers why cell B is less accurate than cell A; runs both files on this machine",
    )
    add_records_option(explain)
    explain.set_defaults(function=_explain)

    reproduce = commands.add_parser("reproduce", help="build a cell's artifact again from the data, and measure it")
    reproduce.add_argument("cells", nargs="*", metavar="cell", help=CELL)
    reproduce.add_argument("--all", action="store_true", help="reproduce every cell that has records")
    reproduce.add_argument("--build-only", action="store_true", help="compare the artifact and measure nothing")
    add_records_option(reproduce)
    reproduce.set_defaults(function=_reproduce)

    _add_compare(commands)

    register = commands.add_parser("register", help="register a cell's artifact as a version, in GTO's git tags")
    register.add_argument("cell", help=CELL)
    register.add_argument("--stage", choices=["dev", "staging", "prod"], help="also promote the version to this stage")
    register.add_argument("--version", help="version number, such as v1.2.0 (default: the next minor version)")
    add_records_option(register)
    register.set_defaults(function=_register)

    bundle = commands.add_parser("bundle", help="pack all that a board needs to run a cell's artifact into a tar file")
    bundle.add_argument("cell", help=CELL)
    bundle.add_argument("--out", type=Path, required=True, help="directory to write; the tar file is put beside it")
    bundle.add_argument("--key", type=Path, help="Ed25519 private key to sign with, such as ~/.ssh/id_ed25519")
    bundle.add_argument(
        "--container", action="store_true", help="also build the container image with buildah, podman or docker"
    )
    bundle.add_argument(
        "--platform", help="the board's platform for --container, such as linux/arm64 (default: this machine's)"
    )
    add_records_option(bundle)
    bundle.set_defaults(function=_bundle)


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser("compare", help="test whether B is slower than A, from their records")
    compare.add_argument(
        "a", help="a cell (device/runtime/model/scheme), a directory of records, a device, a commit or a night"
    )
    compare.add_argument("b", help="a second one of the same kind")
    compare.add_argument(
        "--percent", type=_parse_percent, default=50.0, help="percentile to compare (default: %(default)s)"
    )
    compare.add_argument(
        "--margin",
        type=_parse_margin,
        default=0.0,
        help="relative difference to ignore, such as 0.02 for 2%% (default: %(default)s)",
    )
    compare.add_argument(
        "--unlike", action="store_true", help="compare even if the conditions differ, and list the differences"
    )
    add_fail_on_option(compare, "'slower' means that B is slower than A")
    add_records_option(compare)
    compare.set_defaults(function=_compare)


def _explain(arguments: argparse.Namespace) -> int:
    from edgeproof.provenance import cells, explanation, inaccuracy, slowness

    questions = (arguments.cell, arguments.slower, arguments.less_accurate)
    if sum(question is not None for question in questions) != 1:
        raise EdgeproofError("name one cell to explain, or two with --slower A B or --less-accurate A B.")
    if arguments.slower is not None:
        a, b = arguments.slower
        show(slowness.explain_slower(a, b, arguments.records))
        return 0
    if arguments.less_accurate is not None:
        a, b = arguments.less_accurate
        show(inaccuracy.explain_less_accurate(a, b, arguments.records))
        return 0
    cell = cells.find_cell(arguments.cell, arguments.records)
    show(explanation.explain(cell, arguments.records))
    return 1 if explanation.list_problems(cell) else 0


def _reproduce(arguments: argparse.Namespace) -> int:
    from edgeproof.provenance import cells, reproduce

    if bool(arguments.cells) == arguments.all:
        raise EdgeproofError("name the cells to reproduce, or use --all to reproduce every cell.")
    names = [str(cell) for cell in cells.list_cells(arguments.records)] if arguments.all else arguments.cells
    matching = [cells.find_cell(name, arguments.records) for name in names]
    identical = 0
    for outcome in reproduce.reproduce(matching, measure=not arguments.build_only):
        identical += outcome.is_identical
        show(outcome, flush=True)
    show(f"{identical} of {len(matching)} artifacts are identical.")
    return 0 if identical == len(matching) else 1


def _compare(arguments: argparse.Namespace) -> int:
    from edgeproof.provenance import compare

    directories = [Path(name).is_dir() for name in (arguments.a, arguments.b)]
    code = 0 if all(directories) else refresh_store(arguments.records)
    report = compare.compare(
        arguments.a,
        arguments.b,
        arguments.records,
        percent=arguments.percent,
        margin=arguments.margin,
        unlike=arguments.unlike,
    )
    _print_comparison(report)
    reasons = list_failed_comparisons(arguments.fail_on, report.verdicts)
    if "refused" in arguments.fail_on and report.left_out:
        reasons.append(f"{report.left_out} refused process(es) or unmatched cell(s) left out (--fail-on refused)")
    return report_failures(reasons) or code


def _print_comparison(report: ComparisonReport) -> None:
    """Print a comparison; that of two groups as a table that fits the terminal."""
    from edgeproof.provenance.group_comparison import COLUMNS
    from edgeproof.report import fitted_table

    console = fitted_table.open_console()
    if not report.cells:
        for line in report.text.splitlines():
            fitted_table.print_line(console, line)
        return
    fitted_table.print_line(console, f"{report.introduction}\n")
    fitted_table.print_fitted(console, report.cells, [COLUMNS], dispensable=("p", "detectable slowdown", "processes"))
    fitted_table.print_line(console, "\n" + "\n".join(report.remarks))


def _register(arguments: argparse.Namespace) -> int:
    from edgeproof.provenance import cells, releases

    cell = cells.find_cell(arguments.cell, arguments.records)
    show(*releases.register(cell, arguments.records, stage=arguments.stage, version=arguments.version), sep="\n")
    return 0


def _bundle(arguments: argparse.Namespace) -> int:
    from edgeproof.provenance import bundle, cells, container

    if arguments.platform is not None and not arguments.container:
        raise EdgeproofError("--platform is the platform of a container image. Add --container.")
    builder = container.find_builder() if arguments.container else None
    cell = cells.find_cell(arguments.cell, arguments.records)
    signer = bundle.write_bundle(cell, arguments.records, arguments.out, key=arguments.key)
    signed = "not signed (use --key to sign it)" if signer is None else f"signed by {signer}"
    show(f"{arguments.out} and {arguments.out}.tar, {signed}.")
    option = "" if signer is None else f" --signer {signer}"
    show(f"On the board: tar xf {arguments.out.name}.tar && python3 {arguments.out.name}/run.pyz --check{option}")
    if builder is not None:
        image = container.build_image(arguments.out, builder, platform=arguments.platform)
        show(f"{image}. On the board: docker load --input {image.name}")
    return 0


def _parse_percent(text: str) -> float:
    expected = "a percentile between 0 and 100"
    value = parse_number(text, expected)
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
    return value


def _parse_margin(text: str) -> float:
    expected = "a number from 0 to below 1"
    value = parse_number(text, expected)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
    return value
