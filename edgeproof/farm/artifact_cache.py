"""The cache of artifacts that were measured lately, by the sha256 of their content.

A later build replaces a study's artifacts. From the cache, tonight's artifact can still be compared with an older one.

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

# The artifacts of a cell's latest nights are kept. A slowdown may be detected some nights after its first night, and
# some nights may have no record.
KEPT_NIGHTS = 21
# Younger artifacts are never removed, since a running farm may be measuring them.
MIN_AGE_S = 2 * 86_400


def store_artifacts(study: Params, built: Path) -> list[str]:
    """Store every artifact that the study is about to measure. Return an error message for each unreadable one."""
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
    """Store one artifact. An unsupported one has no content and is not stored. Raises ArtifactError if damaged."""
    meta = read_meta(artifact)
    target = _entry(content_sha256(meta), scheme)
    if "unsupported" not in meta and not target.is_dir():
        with write_atomically(target) as out:
            shutil.copytree(artifact, out, dirs_exist_ok=True)


def find(sha256: str, scheme: str) -> Path:
    """Return the directory of a cached artifact. Raises ArtifactError when it is missing or damaged."""
    entry = _entry(sha256, scheme)
    if not entry.is_dir():
        raise ArtifactError(f"the artifact {sha256[:12]}… is no longer in the artifact cache")
    if content_sha256(read_meta(entry)) != sha256:
        raise ArtifactError(f"{entry} is damaged: it holds another artifact. Remove it.")
    return entry


def prune(wanted: Iterable[tuple[str, str]]) -> None:
    """Remove all old artifacts but the wanted ones, each given by its sha256 and scheme."""
    names = {_entry(sha256, scheme).name for sha256, scheme in wanted}
    for path in sorted(_root().glob("[!.]*")):
        if path.name not in names and path.stat().st_mtime < time.time() - MIN_AGE_S:
            shutil.rmtree(path, ignore_errors=True)


def _root() -> Path:
    return engines.FARM / "artifacts"


def _entry(sha256: str, scheme: str) -> Path:
    """Return the path of an artifact. A record may contain any text, and only file names are in the cache."""
    name = f"{sha256}-{scheme}"
    return _root() / (name if Path(name).name == name and not name.startswith(".") else "nowhere")
