"""Versions of artifacts and the stages they are promoted to, as git tags in GTO's form: DVC's own conventions.

    student-slim-onnx-int8-static@v1.0.0        a version: the commit whose dvc.lock pins the artifact
    student-slim-onnx-int8-static#prod#1        the version that is in a stage

Any tool that reads GTO's tags reads these: `gto show`, DVC Studio, a CI job on the tag.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from edgeproof.core.directories import hash_file
from edgeproof.core.errors import EdgeproofError
from edgeproof.paths import ARTIFACTS
from edgeproof.provenance import lineage
from edgeproof.provenance.cells import CellAddress, CellRecords
from edgeproof.records import summaries
from edgeproof.report import rows
from edgeproof.study import git

STAGES = ("dev", "staging", "prod")
LOCK = Path("dvc.lock")


def name_artifact(cell: CellAddress) -> str:
    """An artifact's name in the registry: GTO allows lower case, digits and '-'."""
    return re.sub(r"[^a-z0-9]+", "-", f"{cell.model}-{cell.runtime}-{cell.scheme}".lower()).strip("-")


def register(found: CellRecords, root: Path, *, stage: str | None, version: str | None) -> list[str]:
    """Register a cell's artifact and, where a stage is named, promote it there; what was done, in words.

    The same artifact is registered once. Raises EdgeproofError where it was not measured valid, is not the one that
    the last commit's dvc.lock pins, or the tag exists.
    """
    from gto import api
    from gto.exceptions import GTOException

    content = _registrable(found, root, production=stage == "prod")
    name, sha256 = name_artifact(found.cell), str(content["artifact"]["sha256"])
    message = f"{found.cell}, artifact sha256 {sha256}"
    told = []
    try:
        known = _version_of(name, sha256)
        if known is None:
            api.register(Path.cwd(), name, "HEAD", version=version, message=message, simple=True)
            known = _version_of(name, sha256)
            told.append(f"registered {name}@{known}")
        else:
            told.append(f"{name}@{known} is this artifact already")
        if stage is not None:
            api.assign(Path.cwd(), name, stage, version=known, message=message)
            told.append(f"promoted {name}@{known} to {stage}")
    except GTOException as error:
        raise EdgeproofError(f"{name} can't be registered: {error}") from None
    return [*told, "Publish the tags with 'git push --tags'."]


def _version_of(name: str, sha256: str) -> str | None:
    """The version whose tag names this artifact, the newest where several do."""
    lines = git.git("tag", "--list", f"{name}@*", "--sort=-v:refname", "--format=%(refname:short) %(contents)")
    for line in lines.splitlines():
        tag, _, said = line.partition(" ")
        if said.endswith(sha256):
            return tag.partition("@")[2]
    return None


def _registrable(found: CellRecords, root: Path, *, production: bool) -> dict[str, Any]:
    """The record of an artifact that may be registered."""
    cell = found.cell
    order = {"devices": [cell.device], "models": [cell.model], "runtimes": [cell.runtime]}
    row = rows.build_rows(summaries.summarize_records(found.records, root), baseline=cell.model, order=order)[0]
    allowed = ("valid",) if production else ("valid", "invalid")
    if row.verdict not in allowed or row.accuracy is None:
        lacks = " and has no accuracy" if row.accuracy is None else ""
        raise EdgeproofError(
            f"{cell} is {row.verdict}{lacks}: {'; '.join(row.reasons)}. "
            f"{'Only what is valid in every scenario goes to prod' if production else 'Nothing is registered'}."
        )
    link = next(link for link in lineage.trace_lineage(found, root) if link.role == "artifact")
    if link.state != lineage.INTACT:
        raise EdgeproofError(f"the measured artifact of {cell} is not at {link.place}: {link.state}.")
    _pinned(cell)
    content: dict[str, Any] = next(dict(of.content) for of in found.records if of.content.get("job"))
    return content


def _pinned(cell: CellAddress) -> None:
    """Whether the last commit's dvc.lock pins what lies here. Raises EdgeproofError."""
    place = (ARTIFACTS / cell.runtime / cell.model).as_posix()
    committed = yaml.safe_load(git.git("show", f"HEAD:{LOCK}")) or {}
    outs = [out for stage in committed.get("stages", {}).values() for out in stage.get("outs", [])]
    if not any(out["path"] == place for out in outs):
        raise EdgeproofError(f"the last commit's {LOCK} has no {place}. Run 'dvc repro' and commit {LOCK}.")
    here = git.git("status", "--porcelain", "--", str(LOCK))
    if here:
        raise EdgeproofError(f"{LOCK} ({hash_file(LOCK)[:12]}) differs from the last commit's. Commit it first.")
