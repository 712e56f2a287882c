"""Check measurements.json and the origins of runs: the link from a run's files to the record of its artifact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeproof.submission.checks.content import SHA256, as_text, hash_text
from edgeproof.submission.checks.tree import Parts, Tree, format_path
from edgeproof.submission.compliance import ComplianceTest
from edgeproof.submission.logs import quote
from edgeproof.submission.rules import MEASUREMENT_FIELDS
from edgeproof.submission.selection import DETAIL_LOG, SUMMARY_LOG, USER_CONF

RUN = ("performance", "run_1")
ACCURACY = ("accuracy",)
# The origin of one run, as JSON: artifact_sha256, measured_at and files.
Origin = Mapping[str, Any]


def check_measurements(tree: Tree, directory: Parts, tests: Sequence[ComplianceTest]) -> dict[str, Origin]:
    """Check a scenario's measurements.json; return the origin of each run."""
    path = (*directory, "measurements.json")
    content = tree.read_json(path)
    if content is None:
        return {}
    for key in MEASUREMENT_FIELDS:
        if not as_text(content.get(key)).strip():
            tree.add(path, [f"{key} is {quote(content.get(key))}; expected a text"])
    places = {"performance": (*directory, *RUN), "accuracy": (*directory, *ACCURACY)}
    places |= {test: (*directory, test, *RUN) for test in tests}
    stated = content.get("runs")
    if not isinstance(stated, dict) or set(stated) != set(places):
        tree.add(path, [f"runs is {quote(stated)}; expected an object with the origins of {', '.join(places)}"])
        return {}
    origins: dict[str, Origin] = {run: origin for run, origin in stated.items() if isinstance(origin, dict)}
    for run, place in places.items():
        files = {file: (*place, file) for file in (DETAIL_LOG, SUMMARY_LOG)}
        if run == "performance":
            files[USER_CONF] = (*directory, USER_CONF)
        tree.add(path, check_origin(tree, f"runs.{run}", origins.get(run), files))
    tree.add(path, check_one_artifact(origins))
    return origins


def read_performance_origin(tree: Tree, directory: Parts) -> Origin | None:
    """Return the origin of a scenario's performance run, or None if measurements.json does not contain it."""
    content = tree.read_json((*directory, "measurements.json")) or {}
    stated = content.get("runs")
    origin = stated.get("performance") if isinstance(stated, dict) else None
    return origin if isinstance(origin, dict) else None


def check_origin(tree: Tree, what: str, origin: Origin | None, files: Mapping[str, Parts]) -> Iterator[str]:
    """Check that an origin names an artifact and the sha256 of the run's files in the tree."""
    if origin is None:
        yield f"{what} is not an object; expected artifact_sha256 and files"
        return
    if not SHA256.fullmatch(as_text(origin.get("artifact_sha256"))):
        yield f"artifact_sha256 of {what} is {quote(origin.get('artifact_sha256'))}; expected a sha256"
    for file, parts in files.items():
        text, stated = tree.read_text(parts), get_file_hash(origin, file)
        if text is not None and stated != hash_text(text):
            actual = hash_text(text)
            yield f"{file} of {what} has the sha256 {quote(stated)}; expected {actual}, that of {format_path(parts)}"


def get_file_hash(origin: Origin | None, file: str) -> str:
    """Return the sha256 that an origin states for a record's file, or ''."""
    files = origin.get("files") if origin is not None else None
    return as_text(files.get(file)) if isinstance(files, dict) else ""


def check_one_artifact(origins: Mapping[str, Origin]) -> Iterator[str]:
    """Check that all runs measured the same artifact."""
    artifacts = {run: as_text(origin.get("artifact_sha256")) for run, origin in origins.items()}
    if len(set(artifacts.values())) > 1:
        listing = ", ".join(f"{run} {quote(artifact)}" for run, artifact in artifacts.items())
        yield f"the runs have different artifacts: {listing}; expected one artifact"
