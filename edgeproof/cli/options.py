"""Options and parsers of option values that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgeproof.paths import RECORDS

CELL = "device/runtime/model/scheme; parts may be left out while the cell stays unique"


def add_records_option(parser: argparse.ArgumentParser) -> None:
    """Add --records, the directory of the records that a command reads."""
    parser.add_argument("--records", type=Path, default=RECORDS, help="directory of the records (default: %(default)s)")


def add_as_is_option(parser: argparse.ArgumentParser) -> None:
    """Add --as-is, which leaves the store of records as it is."""
    parser.add_argument("--as-is", action="store_true", help="do not look for records newer than the store")


def split_names(text: str) -> list[str]:
    """Split 'a, b' into its names. Raises ArgumentTypeError for a text without any name."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("expected at least one name; separate several by commas")
    return names


def parse_number(text: str, expected: str) -> float:
    """Return the number in a text. Raises ArgumentTypeError with what is `expected` for any other text."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {expected}, got '{text}'") from None
