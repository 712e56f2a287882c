"""Register artifacts as versions and promote them to stages, as git tags in the form of GTO, which DVC uses too.

    student-slim-onnx-int8-static@v1.0.0        a version: the commit whose dvc.lock pins the artifact
    student-slim-onnx-int8-static#prod#1        the version that is in a stage

Every tool that reads GTO's tags reads these: `gto show`, DVC Studio, a CI job on the tag.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from edgeproof.core.directories import hash_file
from edgeproof.core.errors import ConfigError, EdgeproofError, UnknownNameError
from edgeproof.paths import ARTIFACTS
from edgeproof.provenance.cells import CellAddress, CellRecords
from edgeproof.provenance.lineage import find_artifact
from edgeproof.provenance.stored import INTACT, SHA256_DIGITS
from edgeproof.study import git

STAGES = ("dev", "staging", "prod")
LOCK = Path("dvc.lock")
_SHOW = "'gto show' lists the versions, and 'edgeproof register CELL' makes one."
VERSION_NAME = re.compile(r"[a-z0-9-]{1,100}@v[0-9A-Za-z.+-]{1,50}")
_MESSAGE = re.compile(r"(?P<cell>.+), artifact sha256 (?P<sha256>[0-9a-f]{64})")


@dataclass(frozen=True)
class Release:
    """A registered version: its name, such as student-onnx-fp32@v1.0.0, its cell and the sha256 of its artifact."""

    name: str
    cell: str
    artifact_sha256: str


def find_release(name: str) -> Release:
    """Return a registered version.

    Raises ConfigError for a name of another form or a tag without an artifact, and UnknownNameError, with the versions
    that exist, for any other name.
    """
    if not VERSION_NAME.fullmatch(name):
        raise ConfigError(f"{name!r:.100} is not the name of a version, such as student-onnx-fp32@v1.0.0. {_SHOW}")
    known = git.run_git("tag", "--list", "*@v*", "--sort=-v:refname").splitlines()
    if name not in known:
        raise UnknownNameError("version", name, known, "'edgeproof register CELL' makes one.")
    message = git.run_git("tag", "--list", name, "--format=%(contents)").strip()
    match = _MESSAGE.fullmatch(message)
    if match is None:
        raise ConfigError(f"the tag {name} names no artifact: it was not made by 'edgeproof register'. {_SHOW}")
    return Release(name, match["cell"], match["sha256"])


def name_artifact(cell: CellAddress) -> str:
    """Return an artifact's name in the registry. GTO allows lower case letters, digits and '-'."""
    return re.sub(r"[^a-z0-9]+", "-", f"{cell.model}-{cell.runtime}-{cell.scheme}".lower()).strip("-")


def register(cell: CellRecords, root: Path, *, stage: str | None, version: str | None) -> list[str]:
    """Register a cell's artifact and promote it to a stage. Return what was done, in words.

    An artifact that is registered already keeps its version.

    Args:
        cell: the cell to register.
        root: the directory of the records.
        stage: one of STAGES, or None for no promotion.
        version: such as v1.2.0; None for GTO's next one.

    Raises EdgeproofError when the artifact is not valid or not the one that the last commit's dvc.lock pins, or when
    the tag exists.
    """
    from gto import api
    from gto.exceptions import GTOException

    _check_artifact(cell, root, production=stage == "prod")
    name, sha256 = name_artifact(cell.address), cell.first_record.artifact.sha256
    message = f"{cell.address}, artifact sha256 {sha256}"
    actions = []
    try:
        registered = _find_version(name, sha256)
        if registered is None:
            api.register(Path.cwd(), name, "HEAD", version=version, message=message, simple=True)
            registered = _find_version(name, sha256)
            actions.append(f"registered {name}@{registered}")
        else:
            actions.append(f"{name}@{registered} is this artifact already")
        if stage is not None:
            api.assign(Path.cwd(), name, stage, version=registered, message=message)
            actions.append(f"promoted {name}@{registered} to {stage}")
    except GTOException as error:
        raise EdgeproofError(f"{name} can't be registered: {error}") from None
    return [*actions, "Publish the tags with 'git push --tags'."]


def _find_version(name: str, sha256: str) -> str | None:
    """Return the newest version whose tag message ends with the artifact's sha256."""
    lines = git.run_git("tag", "--list", f"{name}@*", "--sort=-v:refname", "--format=%(refname:short) %(contents)")
    for line in lines.splitlines():
        tag, _, message = line.partition(" ")
        if message.endswith(sha256):
            return tag.partition("@")[2]
    return None


def _check_artifact(cell: CellRecords, root: Path, *, production: bool) -> None:
    """Raise EdgeproofError when the artifact may not be registered or, with `production`, not promoted to prod."""
    address, row = cell.address, cell.build_row(root)
    allowed = ("valid",) if production else ("valid", "invalid")
    if row.verdict not in allowed or row.quality is None:
        missing = " and has no quality" if row.quality is None else ""
        rule = "Only what is valid in every scenario goes to prod" if production else "Nothing is registered"
        raise EdgeproofError(f"{address} is {row.verdict}{missing}: {'; '.join(row.reasons)}. {rule}.")
    stored = find_artifact(cell, root)
    if stored.state != INTACT:
        raise EdgeproofError(f"the measured artifact of {address} is not at {stored.path}: {stored.state}.")
    _check_pinned(address)


def _check_pinned(cell: CellAddress) -> None:
    """Raise EdgeproofError unless the last commit's dvc.lock pins the artifact that is on disk."""
    place = (ARTIFACTS / cell.runtime / cell.model).as_posix()
    committed = yaml.safe_load(git.run_git("show", f"HEAD:{LOCK}")) or {}
    outs = [out for stage in committed.get("stages", {}).values() for out in stage.get("outs", [])]
    if not any(out["path"] == place for out in outs):
        raise EdgeproofError(f"the last commit's {LOCK} has no {place}. Run 'dvc repro' and commit {LOCK}.")
    if git.run_git("status", "--porcelain", "--", str(LOCK)):
        sha256 = hash_file(LOCK)[:SHA256_DIGITS]
        raise EdgeproofError(f"{LOCK} ({sha256}) differs from the last commit's. Commit it first.")
