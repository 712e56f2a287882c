"""edgeproof bench: measure model files that were made elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgeproof.cli.options import split_names


def add_commands(commands: Any) -> None:
    """Add `bench` to the command line's parser."""
    bench = commands.add_parser("bench", help="measure model files that were made elsewhere and print their table")
    bench.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help=".tflite, .onnx, .xml, .pt2, .keras, .h5, or a SavedModel"
    )
    bench.add_argument("--device", default="local", help="a device in devices/ (default: %(default)s)")
    bench.add_argument("--preset", default="standard", help="quick, standard or official (default: %(default)s)")
    bench.add_argument(
        "--data",
        type=Path,
        metavar="NPZ",
        help="file with the inputs x (N, ...) and optionally the labels y (N,) (default: random inputs)",
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
    bench.add_argument("--output", metavar="NAME", help="the output to score if a file has several")
    bench.add_argument(
        "--interleaved",
        action="store_true",
        help="only compare each file with the first one, in alternating blocks of about 1 ms: use it on busy machines",
    )
    bench.add_argument("--in-turns", dest="interleaved", action="store_true", help=argparse.SUPPRESS)
    bench.add_argument("--name", help="name of the table and its directory (default: the first file's name)")
    bench.set_defaults(function=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    from edgeproof.bench import external

    options = external.BenchOptions(
        device=arguments.device,
        preset=arguments.preset,
        scenarios=arguments.scenarios,
        data=arguments.data,
        runtimes=arguments.runtimes,
        schemes=arguments.schemes,
        output=arguments.output,
        name=arguments.name,
        interleaved=arguments.interleaved,
    )
    table, directory = external.measure_files(arguments.files, options)
    print(table)
    print(f"Tables: {directory / 'tables'}/  records: {directory / 'records'}/")
    return 0
