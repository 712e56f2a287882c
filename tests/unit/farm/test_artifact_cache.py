"""Tests of the artifact cache."""

from __future__ import annotations

import os

import pytest

from edgeproof.core.errors import ArtifactError
from edgeproof.farm import (
    artifact_cache,
    engines,
)
from tests.support.farm_nights import (
    cache_artifact,
    check,
    fail_if_called,
    write_night,
)


def test_only_the_artifacts_of_a_cells_latest_nights_stay_cached() -> None:
    shas = [cache_artifact(f"model {number}") for number in range(artifact_cache.KEPT_NIGHTS + 2)]
    for number, sha in enumerate(shas, 1):
        write_night(number, sha=sha)
    for path in (engines.FARM / "artifacts").iterdir():
        os.utime(path, (0, 0))
    fresh = cache_artifact("being measured now")
    check(runner=fail_if_called)
    assert artifact_cache.find(fresh, "fp32").is_dir()
    for sha in shas[2:]:
        assert artifact_cache.find(sha, "fp32").is_dir()
    for sha in shas[:2]:
        with pytest.raises(ArtifactError, match="no longer in the artifact cache"):
            artifact_cache.find(sha, "fp32")


@pytest.mark.parametrize("sha", ["../../../etc", "..", "", "/etc/passwd"])
def test_a_hostile_sha256_is_never_in_the_cache(sha: str) -> None:
    with pytest.raises(ArtifactError, match="no longer in the artifact cache"):
        artifact_cache.find(sha, "fp32")
