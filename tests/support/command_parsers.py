"""The options of the command line's parsers."""

from __future__ import annotations

import argparse


def list_options(parser: argparse.ArgumentParser) -> set[str]:
    """Return the long names of a parser's options."""
    return {option for option in parser._option_string_actions if option.startswith("--")}
