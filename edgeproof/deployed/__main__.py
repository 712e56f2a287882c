"""Verify the bundle that holds this file, then infer.

    python3 run.pyz --verify --signer SHA256:…      verify only; needs no package
    python3 run.pyz --check                         verify, run the bundle's samples, compare with the reference model
    python3 run.pyz --measure 2                     verify, infer for two seconds, print the durations as JSON
    python3 run.pyz inputs.npy --out outputs.npy    infer raw inputs (N, …), shaped like the task's data
    python3 run.pyz photo.jpg --out boxes.jpg       detect objects, print their boxes and draw them into a copy

All files of the bundle are verified before any of them is used.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import sys
from pathlib import Path

from edgeproof.core.errors import EdgeproofError
from edgeproof.core.plain_text import escape_controls
from edgeproof.deployed import manifest

FAILED, REFUSED = 1, 3


def main() -> int:
    """Verify and run. Return 3 if the bundle is damaged or signed by another key, or the machine lacks a package."""
    parser = argparse.ArgumentParser(prog="run.pyz", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "inputs",
        nargs="?",
        type=Path,
        help=".npy file with raw inputs, one sample per row; .npz for several inputs; for a detector also a JPEG file, "
        "or - to read one from standard input",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=".npy file for the output, .npz for several (default: print the class of each sample); for a photograph "
        "a .jpg or .png file with the boxes drawn",
    )
    parser.add_argument("--min-score", type=float, default=0.5, help="the least score of a box (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="run the bundle's own samples")
    parser.add_argument("--verify", action="store_true", help="verify the bundle only, before anything is installed")
    parser.add_argument(
        "--measure", type=_parse_seconds, metavar="SECONDS", help="measure latency and memory for a short time"
    )
    parser.add_argument("--signer", help="fingerprint of the key that must have signed the bundle (SHA256:…)")
    parser.add_argument("--threads", type=_parse_threads, default=1)
    arguments = parser.parse_args()
    modes = [arguments.check, arguments.verify, arguments.measure is not None, arguments.inputs is not None]
    if modes.count(True) != 1:
        parser.error("give a file with inputs, or --check, --measure or --verify")
    os.environ.pop("EDGEPROOF_PLUGINS", None)  # plugins outside the bundle are not verified
    root = Path(sys.argv[0]).resolve().parent
    problems = manifest.find_problems(root, arguments.signer)
    if arguments.verify and not problems:
        signer = manifest.read_signer(root)
        print(f"verified; signed by {signer}" if signer else "verified; not signed, so anybody may have changed it")
        return 0
    problems = problems or find_package_problems(root)
    if problems:
        print(*(f"refused: {escape_controls(line)}" for line in problems), sep="\n", file=sys.stderr)
        return REFUSED
    try:
        return run_mode(root, arguments)
    except EdgeproofError as error:
        print(f"error: {escape_controls(str(error))}", file=sys.stderr)
        return FAILED


def run_mode(root: Path, arguments: argparse.Namespace) -> int:
    """Do what the arguments of a verified bundle ask for, and return the exit code. Raises EdgeproofError."""
    from edgeproof.deployed import detection, inference, measurement

    if arguments.check:
        return inference.check(root, threads=arguments.threads)
    if arguments.measure is not None:
        print(json.dumps(measurement.measure(root, duration_s=arguments.measure, threads=arguments.threads)))
        return 0
    if detection.is_picture(arguments.inputs):
        return detection.detect(
            root, arguments.inputs, arguments.out, threads=arguments.threads, min_score=arguments.min_score
        )
    return inference.infer(root, arguments.inputs, arguments.out, threads=arguments.threads)


def _parse_threads(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of threads: give a whole number above 0")
    return int(text)


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is no duration: give seconds above 0")
    return seconds


def find_package_problems(root: Path) -> list[str]:
    """List the packages of the measurement that this machine lacks or has in another version."""
    wanted = json.loads((root / "bundle.json").read_text(encoding="utf-8"))["packages"]
    missing = []
    for name, version in wanted.items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = "none"
        if installed != version:
            missing.append(f"needs {name} {version}, has {installed}: python3 -m pip install -r requirements.txt")
    return missing


if __name__ == "__main__":
    sys.exit(main())
