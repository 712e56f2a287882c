"""The artifacts that were measured lately, each under the sha256 of its content, so that tonight's can be compared with
the last good one after it was built anew.

    .edgeproof/farm/artifacts/<sha256>-<scheme>
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from edgeproof.config.params import Params
from edgeproof.core.directories import content_sha256, read_meta, write_atomically
from edgeproof.core.errors import ArtifactError
from edgeproof.farm import engines
from edgeproof.paths import ARTIFACTS

# A cell's artifacts of so many nights stay: those before a step that is found late, and some nights without a record.
KEPT_NIGHTS = 21
MIN_AGE_S = 2 * 86_400


def store_artifacts(study: Params, built: Path) -> list[str]:
    """Keep every artifact that the study is about to measure; says which could not be read, and why."""
    problems = []
    for item in study.bench.values():
        for model, schemes in item.artifacts.items():
            for scheme in schemes:
                try:
                    store_artifact(built / ARTIFACTS / item.runtime / model / scheme, scheme)
                except ArtifactError as error:
                    problems.append(str(error))
    return problems


def store_artifact(artifact: Path, scheme: str) -> None:
    meta = read_meta(artifact)
    target = _entry(content_sha256(meta), scheme)
    if "unsupported" not in meta and not target.is_dir():
        with write_atomically(target) as out:
            shutil.copytree(artifact, out, dirs_exist_ok=True)


def find(sha256: str, scheme: str) -> Path:
    """Where an artifact is kept. Raises ArtifactError where it is not, or not as it was."""
    place = _entry(sha256, scheme)
    if not place.is_dir():
        raise ArtifactError(f"the artifact {sha256[:12]}… is no longer kept")
    if content_sha256(read_meta(place)) != sha256:
        raise ArtifactError(f"{place} is damaged: it holds another artifact. Remove it.")
    return place


def prune(wanted: Iterable[tuple[str, str]]) -> None:
    """Drop what is kept of others than these, each a sha256 and a scheme; what a run may just be measuring stays."""
    names = {_entry(*of).name for of in wanted}
    for path in sorted(_root().glob("[!.]*")):
        if path.name not in names and path.stat().st_mtime < time.time() - MIN_AGE_S:
            shutil.rmtree(path, ignore_errors=True)


def _root() -> Path:
    return engines.FARM / "artifacts"


def _entry(sha256: str, scheme: str) -> Path:
    """A record may name anything: what is no file's name is kept nowhere."""
    name = f"{sha256}-{scheme}"
    return _root() / (name if Path(name).name == name and not name.startswith(".") else "nowhere")
