"""edgeproof sign | verify: sign the records of sessions, and verify signatures."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from edgeproof.cli.output import show

RESULTS = Path("results")
OK, PROBLEMS = 0, 1


def add_commands(commands: Any) -> None:
    """Add `sign` and `verify` to the command line's parser."""
    sign = commands.add_parser("sign", help="sign all unsigned sessions of records with your Ed25519 key")
    _add_places(sign)
    sign.set_defaults(function=_sign)

    verify = commands.add_parser(
        "verify", help="check that records are consistent, unchanged since they were signed, and by whom"
    )
    _add_places(verify)
    verify.add_argument(
        "--allowed-signers",
        type=Path,
        metavar="FILE",
        help="file that lists the trusted signers (default: allowed_signers in the project, if there is one)",
    )
    verify.add_argument("--require-signatures", action="store_true", help="report unsigned sessions as problems")
    verify.set_defaults(function=_verify)


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "places",
        nargs="*",
        type=Path,
        default=[RESULTS],
        metavar="PATH",
        help="directories with records (default: results)",
    )


def _sign(arguments: argparse.Namespace) -> int:
    from edgeproof.core import signatures
    from edgeproof.core.errors import ConfigError
    from edgeproof.records import signature_checks, signing

    key = signing.load_configured_key()
    if key is None:
        raise ConfigError(
            f"no signing key. Set {signing.KEY_VARIABLE} to a key file, or put the key at "
            f"~/.config/{signing.DEFAULT_KEY}. {signing.KEY_HINT}"
        )
    findings = list(signature_checks.verify_sessions(arguments.places, None))
    damaged = [problem for finding in findings for problem in finding.problems]
    if damaged:
        show(*damaged, sep="\n")
        show(f"Signed nothing: {len(damaged)} problem(s). Remove or restore these records first.")
        return PROBLEMS
    unsigned = [finding.session for finding in findings if finding.outcome == "unsigned"]
    for session in unsigned:
        signing.sign_session(session, key)
    signer = signatures.fingerprint(signing.get_public_key(key))
    show(f"Signed {len(unsigned)} session(s) as {signer}. {len(findings) - len(unsigned)} were signed before.")
    show("If DVC tracks these records, run 'dvc commit' to add the signatures.")
    return OK


def _verify(arguments: argparse.Namespace) -> int:
    from edgeproof.bench import recheck
    from edgeproof.records import signature_checks
    from edgeproof.records.allowed_signers import ALLOWED_SIGNERS, read_allowed_signers

    path = arguments.allowed_signers or (ALLOWED_SIGNERS if ALLOWED_SIGNERS.is_file() else None)
    trusted = None if path is None else read_allowed_signers(path)
    outcomes: Counter[str] = Counter()
    signers: Counter[str] = Counter()
    are_required = arguments.require_signatures or trusted is not None
    for finding in signature_checks.verify_sessions(arguments.places, trusted, recheck.list_problems):
        outcomes[finding.outcome] += 1
        outcomes["records"] += finding.records
        if finding.outcome == "verified":
            signers[str(finding.signer)] += 1
        for problem in finding.problems:
            show(f"tampered: {problem}")
        if finding.outcome == "unsigned" and are_required:
            show(f"unsigned: {finding.session}")
    show(
        f"{outcomes['records']} record(s) in {outcomes.total() - outcomes['records']} session(s): "
        f"{outcomes['verified']} verified, {outcomes['unsigned']} unsigned, {outcomes['tampered']} tampered with"
    )
    if outcomes["unsigned"]:
        show(
            "An unsigned session can only be checked for damage and contradictions: an edit of all its files alike "
            "is not found. 'edgeproof sign' protects it from now on."
        )
    for signer, count in sorted(signers.items()):
        show(f"signed by {signer}: {count}")
    if signers and trusted is None:
        show("The signers are not checked. List the trusted ones in a file and pass it with --allowed-signers.")
    return PROBLEMS if outcomes["tampered"] or (are_required and outcomes["unsigned"]) else OK
