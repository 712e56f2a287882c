"""edgeproof bench: measure model files that were made elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof.cli.failures import add_fail_on_option, list_failed_comparisons, report_failures
from edgeproof.cli.options import add_patience_options, choose_patience, split_names
from edgeproof.cli.output import show
from edgeproof.core.errors import ConfigError

if TYPE_CHECKING:
    from edgeproof.bench.external_results import ExternalResults


PRESET_HELP = "quick, standard, official or official_tiny (default: %(default)s)"


def add_commands(commands: Any) -> None:
    """Add `bench` to the command line's parser."""
    bench = commands.add_parser("bench", help="measure model files that were made elsewhere and print their table")
    bench.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help=".tflite, .onnx, .xml, .pt2, .keras, .h5, or a SavedModel"
    )
    bench.add_argument("--device", default="local", help="a device in devices/ (default: %(default)s)")
    bench.add_argument("--preset", default="standard", help=PRESET_HELP)
    bench.add_argument(
        "--data",
        type=Path,
        metavar="NPZ",
        help="file with the inputs x (N, ...), or one array for each input's name, and optionally the labels y (N,) "
        "(default: random inputs)",
    )
    bench.add_argument(
        "--labels",
        metavar="NPY|KEY",
        help="the labels: an .npy file with a row for each sample, or an array of --data (default: y)",
    )
    bench.add_argument(
        "--metric",
        metavar="NAME",
        help="metric of the quality (default: accuracy for class numbers and one output of scores)",
    )
    bench.add_argument("--runtimes", type=split_names, metavar="A,B", help="runtimes to use (default: the file's own)")
    bench.add_argument(
        "--schemes",
        type=split_names,
        metavar="A,B",
        help="schemes to export .pt2 and Keras models in (default: fp32,fp16,int8-dynamic,int8-static)",
    )
    bench.add_argument(
        "--scenarios",
        type=split_names,
        metavar="A,B",
        default=["single_stream", "offline"],
        help="scenarios in conf/scenarios (default: single_stream,offline)",
    )
    bench.add_argument("--output", metavar="NAME", help="the output to score if a file has several (default: all)")
    bench.add_argument(
        "--interleaved",
        action="store_true",
        help="only compare each file with the first one, in alternating blocks of about 1 ms: use it on busy machines",
    )
    bench.add_argument("--in-turns", dest="interleaved", action="store_true", help=argparse.SUPPRESS)
    bench.add_argument("--name", help="name of the table and its directory (default: the first file's name)")
    add_patience_options(bench)
    add_fail_on_option(bench, "The first two need --interleaved")
    bench.set_defaults(function=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    from edgeproof.bench import external
    from edgeproof.report import terminal_table

    if not arguments.interleaved and {"slower", "different"} & set(arguments.fail_on):
        raise ConfigError("--fail-on slower and --fail-on different need --interleaved, which compares the files.")
    options = external.BenchOptions(
        device=arguments.device,
        preset=arguments.preset,
        scenarios=arguments.scenarios,
        data=arguments.data,
        labels=arguments.labels,
        metric=arguments.metric,
        runtimes=arguments.runtimes,
        schemes=arguments.schemes,
        output=arguments.output,
        name=arguments.name,
        interleaved=arguments.interleaved,
        patience=choose_patience(arguments),
    )
    results = external.measure_files(arguments.files, options)
    if arguments.interleaved:
        terminal_table.print_comparisons(results.comparisons, path=results.table)
    else:
        terminal_table.print_rows(results.rows, path=results.table)
    show(f"Tables: {results.directory / 'tables'}/  records: {results.directory / 'records'}/")
    return report_failures(_list_failures(results, arguments.fail_on))


def _list_failures(results: ExternalResults, fail_on: Sequence[str]) -> list[str]:
    """Return the reasons to exit with 1: some of any benchmark, and those that `fail_on` adds."""
    reasons = []
    if not results.has_latency:
        reasons.append("no artifact has a valid latency")
    if errors := results.runs.get("error", 0):
        reasons.append(f"{errors} run(s) ended with an error")
    if "refused" in fail_on and (refused := results.runs.get("invalid", 0)):
        reasons.append(f"{refused} run(s) were refused (--fail-on refused)")
    return reasons + list_failed_comparisons(fail_on, [line.comparison.verdict for line in results.comparisons])
