"""The error of this package."""

from __future__ import annotations

from edgeproof.core.errors import EdgeproofError


class SubmissionError(EdgeproofError):
    """The records cannot be submitted. The message lists every reason and the next command."""
