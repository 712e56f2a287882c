"""Options and parsers of option values that several commands share."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproof.paths import RECORDS

if TYPE_CHECKING:
    from edgeproof.bench.patience import Patience

CELL = "device/runtime/model/scheme; parts may be left out while the cell stays unique"


def add_records_option(parser: argparse.ArgumentParser) -> None:
    """Add --records, the directory of the records that a command reads."""
    parser.add_argument("--records", type=Path, default=RECORDS, help="directory of the records (default: %(default)s)")


def add_as_is_option(parser: argparse.ArgumentParser) -> None:
    """Add --as-is, which leaves the store of records as it is."""
    parser.add_argument("--as-is", action="store_true", help="do not look for records newer than the store")


def add_patience_options(parser: argparse.ArgumentParser) -> None:
    """Add --patience and --if-busy: what to do while other processes use the device."""
    parser.add_argument(
        "--patience",
        type=_parse_seconds,
        metavar="SECONDS",
        help="longest wait for a quiet device before measuring; 0: none (default: EDGEPROOF_PATIENCE_S, or 60)",
    )
    parser.add_argument(
        "--if-busy",
        choices=["stop", "measure"],
        help="if the device stays busy, stop, or measure all the same and refuse disturbed runs (default: "
        "EDGEPROOF_IF_BUSY, or stop)",
    )


def choose_patience(arguments: argparse.Namespace) -> Patience:
    """Return the behaviour on a busy device that the options ask for, or else the environment."""
    from edgeproof.bench.patience import Patience, read_patience

    default = read_patience()
    return Patience(
        default.seconds if arguments.patience is None else arguments.patience,
        default.measures_busy if arguments.if_busy is None else arguments.if_busy == "measure",
    )


def split_names(text: str) -> list[str]:
    """Split 'a, b' into its names. Raises ArgumentTypeError for a text without any name."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("expected at least one name; separate several by commas")
    return names


def _parse_seconds(text: str) -> float:
    expected = "a number of seconds, 0 or more"
    seconds = parse_number(text, expected)
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
    return seconds


def parse_number(text: str, expected: str) -> float:
    """Return the number in a text. Raises ArgumentTypeError with what is `expected` for any other text."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {expected}, got '{text}'") from None
