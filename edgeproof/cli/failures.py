"""Option --fail-on: the results for which a command exits with 1. docs/exit_codes.md lists all exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from edgeproof.cli.options import split_names
from edgeproof.cli.output import show

if TYPE_CHECKING:
    from edgeproof.statistics.comparison import ComparisonVerdict

OK, FAILED = 0, 1
RESULTS = ("slower", "different", "refused")


def add_fail_on_option(parser: argparse.ArgumentParser, explanation: str) -> None:
    """Add --fail-on, a list of RESULTS."""
    parser.add_argument(
        "--fail-on",
        type=_parse_results,
        default=[],
        metavar="A,B",
        help=f"exit with 1 for any of these results: {', '.join(RESULTS)}. {explanation} (default: none)",
    )


def list_failed_comparisons(fail_on: Collection[str], verdicts: Sequence[ComparisonVerdict]) -> list[str]:
    """Return the reasons to exit with 1 that lie in the verdicts of comparisons.

    A comparison of too few processes decides nothing. It counts as refused.
    """
    reasons = []
    wanted = {"slower": ("slower",), "different": ("slower", "faster"), "refused": ("too few processes",)}
    for result in RESULTS:
        count = sum(verdict in wanted[result] for verdict in verdicts)
        if result in fail_on and count:
            word = "undecided, with too few processes" if result == "refused" else result
            reasons.append(f"{count} of {len(verdicts)} comparison(s): {word} (--fail-on {result})")
    return reasons


def report_failures(reasons: Sequence[str]) -> int:
    """Print the reasons on stderr; return FAILED if there are any, else OK."""
    for reason in reasons:
        show(f"failed: {reason}", file=sys.stderr)
    return FAILED if reasons else OK


def _parse_results(text: str) -> list[str]:
    names = split_names(text)
    for name in names:
        if name not in RESULTS:
            raise argparse.ArgumentTypeError(f"unknown result '{name}'. Known: {', '.join(RESULTS)}")
    return names
