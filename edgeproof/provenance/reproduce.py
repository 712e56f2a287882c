"""Reproduce cells: build their artifacts again from the data in a clean worktree, and measure their latency again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edgeproof.core.directories import content_sha256
from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance.artifact_comparison import compare_artifacts
from edgeproof.provenance.build_differences import explain_difference
from edgeproof.provenance.cells import CellAddress, CellRecords
from edgeproof.provenance.study_worktree import StudyWorktree
from edgeproof.records import kinds
from edgeproof.records.record_parts import Commit
from edgeproof.study import git

IDENTICAL, DIFFERENT, UNSUPPORTED = "identical", "different", "unsupported, as before"


@dataclass(frozen=True)
class Reproduction:
    """The outcome of reproducing a cell.

    Attributes:
        artifact: IDENTICAL, DIFFERENT or UNSUPPORTED.
        reasons: why the artifact differs, and what else was not as recorded.
        latency: the comparison of the latencies in words; None if it was not measured again.
    """

    cell: CellAddress
    artifact: str
    reasons: list[str] = field(default_factory=list)
    latency: str | None = None

    @property
    def is_identical(self) -> bool:
        """True if the artifact is the recorded one, bit by bit, or unsupported as it was recorded."""
        return self.artifact != DIFFERENT

    def __str__(self) -> str:
        latency = [] if self.latency is None else self.latency.splitlines()
        return "\n".join([f"{self.cell}: artifact {self.artifact}", *(f"  {line}" for line in self.reasons + latency)])


def reproduce(cells: Sequence[CellRecords], *, measure: bool) -> Iterator[Reproduction]:
    """Build every cell's artifact again and yield how it compares. With `measure`, also measure its latency again.

    Cells of one study and commit share a worktree, in which each model is built once.

    Raises EdgeproofError for a cell whose model came as a file, and when a stage fails.
    """
    worktrees: dict[tuple[str, str], StudyWorktree] = {}
    for cell in cells:
        record = cell.first_record
        if record.artifact.model.method == kinds.EXTERNAL_METHOD:
            raise EdgeproofError(
                f"no study makes the model of {cell.address}: it came as a file. Measure it again with 'edgeproof "
                "bench'."
            )
        study, commit = record.identity.study, _choose_commit(record.commit)
        if (study, commit) not in worktrees:
            worktrees[study, commit] = StudyWorktree(study, commit, record.commit)
        yield _reproduce_cell(cell, worktrees[study, commit], measure=measure)


def _choose_commit(commit: Commit | None) -> str:
    """Return the recorded commit if this repository has it, or else the one that is checked out."""
    recorded = None if commit is None else git.resolve_commit(commit.id)
    head = git.resolve_commit("HEAD")
    if head is None:
        raise EdgeproofError("'edgeproof reproduce' needs a git checkout with at least one commit.")
    return recorded or head


def _reproduce_cell(cell: CellRecords, worktree: StudyWorktree, *, measure: bool) -> Reproduction:
    record = cell.first_record
    meta = worktree.build_artifact(cell.address, record.artifact.model.seed or 0)
    if content_sha256(meta) != record.artifact.sha256:
        seeds = worktree.get_seeds(cell.address)
        reasons = explain_difference(record, meta, worktree.root, seeds)
        return Reproduction(cell.address, DIFFERENT, [*reasons, *worktree.notes])
    outcome = UNSUPPORTED if "unsupported" in meta else IDENTICAL
    latency = _compare_latency(cell, worktree) if measure and outcome == IDENTICAL else None
    return Reproduction(cell.address, outcome, list(worktree.notes), latency)


def _compare_latency(cell: CellRecords, worktree: StudyWorktree) -> str:
    """Measure the artifact alone and compare its latency with the recorded one, in words."""
    records = worktree.measure(cell.address)
    if records is None:
        return "not measured: the study has no session for this device and runtime any more"
    try:
        return compare_artifacts(cell.records[0].directory.parent, records, allow_unlike=True).text
    except EdgeproofError as error:
        return f"latency not compared: {error}"
