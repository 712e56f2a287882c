"""The one way a submission is refused."""

from __future__ import annotations

from edgeproof.core.errors import EdgeproofError


class SubmissionError(EdgeproofError):
    """These records make no submission. The message lists every reason and what to run."""
