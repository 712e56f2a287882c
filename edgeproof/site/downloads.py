"""Copy the files that readers download into the site: the artifacts' files, and the records of each result."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeproof.paths import ARTIFACTS, WORK
from edgeproof.provenance.stored import INTACT, find_stored
from edgeproof.records.kinds import EXTERNAL_METHOD
from edgeproof.report.row import RowKey
from edgeproof.site.facts import BuildInfo, RunRecord
from edgeproof.site.links import ArtifactKey, safe_name

# Larger artifacts, and more records, would make the site too large to host.
MAX_ARTIFACT_BYTES = 100 * 2**20
MAX_RECORDS = 5000
# Files beside the model that are for checks only.
CHECK_FILES = ("samples.npy", "expected.npy")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Download:
    """A file of the site, with its path within the site."""

    name: str
    path: str
    size_bytes: int


@dataclass(frozen=True)
class RecordLink:
    """A run with the path of its record within the site, or None if the record is not copied."""

    run: RunRecord
    path: str | None


class DownloadCopier:
    """Copies files into the directory of a site. It stops copying records after MAX_RECORDS."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._records = 0

    def copy_artifact(self, artifact: ArtifactKey, build: BuildInfo) -> list[Download]:
        """Copy an artifact's files. Return nothing if this machine lacks the measured files or they are too large."""
        model, runtime, scheme = artifact
        stored = find_stored(_list_places(artifact, build), build.sha256)
        if stored.state != INTACT or stored.path is None or stored.meta is None:
            return []
        names = [name for name in sorted(stored.meta["files"]) if name not in CHECK_FILES]
        sizes = {name: (stored.path / name).stat().st_size for name in names if _PLAIN_NAME.fullmatch(name)}
        if not names or len(sizes) < len(names) or sum(sizes.values()) > MAX_ARTIFACT_BYTES:
            return []
        directory = f"files/{safe_name(model, runtime, scheme)}"
        (self._out / directory).mkdir(parents=True)
        for name in sizes:
            shutil.copyfile(stored.path / name, self._out / directory / name)
        return [Download(name, f"{directory}/{name}", size) for name, size in sizes.items()]

    def copy_records(self, key: RowKey, runs: Sequence[RunRecord]) -> list[RecordLink]:
        """Copy the records of a result's runs."""
        return [RecordLink(run, self._copy_record(key, run)) for run in runs]

    def _copy_record(self, key: RowKey, run: RunRecord) -> str | None:
        source = Path(run.directory) / "record.json"
        if self._records >= MAX_RECORDS or not source.is_file():
            return None
        self._records += 1
        path = f"records/{safe_name(*key)}/{safe_name(run.name)}.json"
        (self._out / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, self._out / path)
        return path


def _list_places(artifact: ArtifactKey, build: BuildInfo) -> list[Path]:
    """Return the directories on this machine that may hold an artifact."""
    model, runtime, scheme = artifact
    if build.method == EXTERNAL_METHOD:
        roots = [WORK / EXTERNAL_METHOD / build.study]
    else:
        roots = [home / ARTIFACTS for home in (Path(), WORK / "studies" / build.study)]
    directories = [scheme] if build.seed is None else [scheme, f"{scheme}.seed_{build.seed}"]
    return [root / runtime / model / name for root in roots for name in directories]
