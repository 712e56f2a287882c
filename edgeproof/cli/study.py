"""edgeproof compose | repro | sweep: compose a study, run it, and run it at many points."""

from __future__ import annotations

import argparse
import os
from typing import Any

from edgeproof.cli.options import add_patience_options, choose_patience
from edgeproof.cli.output import show

OVERRIDES = "Hydra overrides, such as study=digits distill.temperature=2"


def add_commands(commands: Any) -> None:
    """Add `compose`, `repro` and `sweep` to the command line's parser."""
    compose = commands.add_parser("compose", help="compose a study of conf/ into params.yaml")
    compose.add_argument("overrides", nargs="*", help=OVERRIDES)
    compose.add_argument("--print", action="store_true", help="print the composition and write nothing")
    compose.set_defaults(function=_compose)

    repro = commands.add_parser("repro", help="run a study with DVC and print its table")
    repro.add_argument("study", nargs="?", help="a study in conf/study (default: the one in conf/config.yaml)")
    repro.add_argument("overrides", nargs="*", help=OVERRIDES)
    add_patience_options(repro)
    repro.set_defaults(function=_repro)

    # All words belong to Hydra, '--help' too. No word can begin with a NUL, so argparse takes none for an option.
    sweep = commands.add_parser(
        "sweep", help="run a study at many points, or search for good ones", add_help=False, prefix_chars="\0"
    )
    sweep.add_argument("words", nargs="*", help="Hydra's options and overrides")
    sweep.set_defaults(function=_sweep)


def _compose(arguments: argparse.Namespace) -> int:
    from edgeproof.config import compose, params_file

    params = compose.compose(overrides=arguments.overrides)
    if arguments.print:
        show(params_file.dump_params(params), end="")
    else:
        params_file.write_params(params, " ".join(arguments.overrides))
        show(f"params.yaml holds study '{params.study}'. Run it with 'dvc repro'.")
    return 0


def _repro(arguments: argparse.Namespace) -> int:
    from edgeproof.report import terminal_table
    from edgeproof.study import repro

    words = [word for word in (arguments.study, *arguments.overrides) if word is not None]
    study = None if not words or "=" in words[0] else words.pop(0)
    # DVC runs the stages as processes of their own, which read the environment.
    os.environ |= choose_patience(arguments).to_environment()
    return repro.run_study(study, words, print_table=terminal_table.print_study_table)


def _sweep(arguments: argparse.Namespace) -> int:
    from edgeproof.cli import sweep

    return sweep.main(arguments.words)
