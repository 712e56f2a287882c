"""Validate a submission more strictly than the official checkers."""

from __future__ import annotations

from pathlib import Path

from edgeproof.submission.checks import inference, tiny
from edgeproof.submission.checks.tree import Parts, scan


def validate(root: Path) -> list[str]:
    """Return every problem of the submission below `root`, one line each: file, what is wrong, what is expected.

    An empty list means that the submission is accepted. Nothing is raised, whatever the files contain.
    """
    if not root.is_dir():
        return [f"{root}: is not a directory; expected a submission"]
    tree = scan(root)
    expected: set[Parts] = set()
    sources: set[Parts] = set()  # directories that may contain any files
    submitters = tree.list_children(("open",))
    if not submitters:
        tree.add(("open",), ["contains no submitter; expected open/<submitter>"])
    for submitter in submitters:
        base = ("open", submitter)
        is_tiny = "code" in tree.list_children(base) and "src" not in tree.list_children(base)
        sources.add((*base, "code" if is_tiny else "src"))
        expected |= (tiny if is_tiny else inference).check_submitter(tree, base)
    for parts in sorted(expected - tree.files):
        tree.add(parts, ["is missing; expected a file"])
    for parts in sorted(tree.files - expected):
        if parts[:3] not in sources:
            tree.add(parts, ["is not part of a submission; expected no such file"])
    return list(dict.fromkeys(tree.problems))
