"""The artifacts of a session, each checked once against its own meta.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeproof.bench.schedule import ArtifactKey, Job
from edgeproof.config.params import BenchParams
from edgeproof.core.directories import content_sha256, read_meta
from edgeproof.paths import name_artifact


class ArtifactSet:
    """The artifacts of a session for every model, scheme and seed. Raises ArtifactError for a damaged one."""

    def __init__(self, item: BenchParams, directory: Path) -> None:
        self._item = item
        self._directory = directory
        self._metas = {
            (model, scheme, replicate): read_meta(self._get_path(model, scheme, replicate))
            for model, schemes in item.artifacts.items()
            for scheme in schemes
            for replicate in range(len(item.seeds))
        }

    def split_supported(
        self, explain_unsupported: Callable[[Mapping[str, Any]], str | None]
    ) -> tuple[list[ArtifactKey], list[ArtifactKey]]:
        """Return the supported and the unsupported artifacts, in the study's order.

        `explain_unsupported` returns the reason why an artifact with the given meta is unsupported, or None.
        """
        supported: list[ArtifactKey] = []
        unsupported: list[ArtifactKey] = []
        for (model, scheme, replicate), meta in self._metas.items():
            if replicate == 0:
                group = supported if explain_unsupported(meta) is None else unsupported
                group.append(ArtifactKey(self._item.runtime, model, scheme))
        return supported, unsupported

    def get_meta(self, job: Job) -> dict[str, Any]:
        """Return the meta of a job's artifact."""
        return self._metas[job.model, job.scheme, job.replicate]

    def locate(self, job: Job) -> Path:
        """Return the directory of a job's artifact."""
        return self._get_path(job.model, job.scheme, job.replicate)

    def list_sha256(self) -> list[str]:
        """Return the sha256 of every artifact's content, sorted."""
        return sorted(map(content_sha256, self._metas.values()))

    def _get_path(self, model: str, scheme: str, replicate: int) -> Path:
        seeds = self._item.seeds
        return self._directory / model / name_artifact(scheme, seeds, seeds[replicate])
