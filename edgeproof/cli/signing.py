"""edgeproof sign | verify: sign the records that are there, and say which are still what was signed."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from edgeproof.core.errors import ConfigError

RESULTS = Path("results")
FOUND, NOT_AS_SIGNED = 0, 1


def add_verbs(commands: Any) -> None:
    """Add the verbs to the command line's parser."""
    sign = commands.add_parser("sign", help="sign the records that are there with your Ed25519 key")
    _places(sign)
    sign.set_defaults(function=_sign)

    verify = commands.add_parser("verify", help="say whether records are what was measured and signed, and by whom")
    _places(verify)
    verify.add_argument(
        "--allowed-signers", type=Path, metavar="FILE", help="who may sign (default: the project's, where it has one)"
    )
    verify.add_argument("--require-signatures", action="store_true", help="take what is not signed as an error too")
    verify.set_defaults(function=_verify)


def _places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("places", nargs="*", type=Path, default=[RESULTS], metavar="PATH", help="(default: results)")


def _sign(arguments: argparse.Namespace) -> int:
    from edgeproof.core import signatures
    from edgeproof.records import signing

    key = signing.configured()
    if key is None:
        raise ConfigError(
            f"no signing key: name one in {signing.VARIABLE}, or put it at ~/.config/{signing.DEFAULT}. {signing.MAKE}"
        )
    findings = list(signing.verify(arguments.places, None))
    damaged = [problem for finding in findings for problem in finding.problems]
    if damaged:
        print(*damaged, sep="\n")
        print(f"nothing is signed: {len(damaged)} problem(s), which a signature would hide.")
        return NOT_AS_SIGNED
    unsigned = [finding.session for finding in findings if finding.outcome == "unsigned"]
    for session in unsigned:
        signing.sign(session, key)
    before = len(findings) - len(unsigned)
    print(
        f"{len(unsigned)} session(s) are signed by {signatures.fingerprint(signing.public(key))}, {before} were before."
    )
    print("Where DVC keeps them: 'dvc commit' takes the signatures in.")
    return FOUND


def _verify(arguments: argparse.Namespace) -> int:
    from edgeproof.records import signing

    path = arguments.allowed_signers or (signing.ALLOWED if signing.ALLOWED.is_file() else None)
    trusted = None if path is None else signing.allowed(path)
    outcomes: Counter[str] = Counter()
    signers: Counter[str] = Counter()
    required = arguments.require_signatures or trusted is not None
    for finding in signing.verify(arguments.places, trusted):
        outcomes[finding.outcome] += 1
        outcomes["records"] += finding.records
        if finding.outcome == "verified":
            signers[str(finding.signer)] += 1
        for problem in finding.problems:
            print(f"tampered: {problem}")
        if finding.outcome == "unsigned" and required:
            print(f"unsigned: {finding.session}")
    print(
        f"{outcomes['records']} record(s) in {outcomes.total() - outcomes['records']} session(s): "
        f"{outcomes['verified']} verified, {outcomes['unsigned']} unsigned, {outcomes['tampered']} tampered with"
    )
    for signer, count in sorted(signers.items()):
        print(f"signed by {signer}: {count}")
    if signers and trusted is None:
        print("Nobody says whose keys these are: name who may sign with --allowed-signers.")
    return NOT_AS_SIGNED if outcomes["tampered"] or (required and outcomes["unsigned"]) else FOUND
