"""The program that a host sends to a board: it carries out one request and prints one line of JSON.

    python3 -I deployer-….pyz '{"verb": "status", "nonce": "…"}'

It needs the standard library only, and works in the directory `deployment` of the working directory.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgeproof.deployed import layout, switching
from edgeproof.deployed.layout import LockBusyError, Version
from edgeproof.deployed.switching import Change
from edgeproof.deployed.trial import TrialSettings

SCHEMA = 1
# The host refuses answers beyond these limits: longer texts are cut, and further reasons are counted.
MAX_TEXT_CHARACTERS = 2000
MAX_REASONS = 20
_RUNTIME = re.compile(r"[a-z0-9_]{1,100}")


def main() -> int:
    """Carry out the request in the first argument. Return 0 if the answer was printed.

    A damaged program carries out nothing, because it could take a damaged version for an intact one.
    """
    if is_damaged(sys.argv[0]):
        print(f"{sys.argv[0]} is damaged", file=sys.stderr)
        return 1
    request = json.loads(sys.argv[1])
    try:
        change = carry_out(request)
    except LockBusyError as error:
        change = Change("busy", [str(error)])
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        change = Change("failed", [f"{name}{error.strerror or error}"])
    # A line of its own: a program may have printed before.
    print(f"\n{json.dumps(describe(request, change))}", flush=True)
    return 0


def is_damaged(program: str) -> bool:
    """Return True for a program whose files differ from their checksums, which Python does not read to run them."""
    if not zipfile.is_zipfile(program):
        return False
    with zipfile.ZipFile(program) as archive:
        return archive.testzip() is not None


def carry_out(request: Mapping[str, Any]) -> Change:
    """Carry out a request. Raises LockBusyError, and OSError if the disk is full, for example."""
    if request["verb"] == "status":
        current = layout.read_current()
        problems = [] if current is None else layout.find_problems(current, current.signer)
        return Change("refused" if problems else "intact", problems)
    with layout.hold_lock(str(request["holder"]), float(request["lock_wait_s"])):
        try:
            return _change(request, TrialSettings(**request["trial"]))
        except OSError:
            layout.prune()  # the disk may be full of what this request has left
            raise


def _change(request: Mapping[str, Any], settings: TrialSettings) -> Change:
    if request["verb"] == "rollback":
        return switching.roll_back(str(request["expected"]), str(request["at"]), settings)
    if request["verb"] == "inspect":
        return switching.inspect(settings)
    sha256 = str(request["sha256"])
    if not layout.SHA256.fullmatch(sha256):
        return Change("refused", ["the request names no sha256"])
    return switching.activate(sha256, str(request["label"]), str(request["signer"]), str(request["at"]), settings)


def describe(request: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """Return the answer: the result of the request, and what is on this board afterwards."""
    current = layout.read_current()
    previous = layout.read_previous(current)
    return {
        "schema": SCHEMA,
        "nonce": request["nonce"],
        "outcome": change.outcome,
        "reasons": _shorten_reasons(change.reasons),
        "figures": None if change.figures is None else asdict(change.figures),
        "current": None if current is None else _describe_version(current),
        "previous": None if previous is None else _describe_version(previous),
        "held": [version.sha256 for version in layout.list_versions()],
        "free_bytes": shutil.disk_usage(".").free,
    }


def _describe_version(version: Version) -> dict[str, Any]:
    try:
        runtime = json.loads((layout.locate_bundle(version) / "bundle.json").read_bytes())["runtime"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        runtime = None
    return {
        "runtime": runtime if isinstance(runtime, str) and _RUNTIME.fullmatch(runtime) else None,
        "sha256": version.sha256,
        "label": _cut(version.label),
        "signer": None if version.signer is None else _cut(version.signer),
        "since": _cut(version.since),
        "origin": _cut(version.origin),
    }


def _shorten_reasons(reasons: Sequence[str]) -> list[str]:
    shown = [_cut(reason) for reason in reasons[:MAX_REASONS]]
    return shown if len(reasons) <= MAX_REASONS else [*shown, f"and {len(reasons) - MAX_REASONS} more"]


def _cut(text: str) -> str:
    """Return the start of a text. Lone surrogates, as in names of files that are no UTF-8, become '?'."""
    return text[:MAX_TEXT_CHARACTERS].encode(errors="replace").decode()


if __name__ == "__main__":
    sys.exit(main())
