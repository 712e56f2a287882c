"""The errors of a message that the server can't use."""

from __future__ import annotations


class MessageError(ValueError):
    """A client's message is damaged, has another shape, or holds NaN. The server rejects it and goes on."""


class NotFiniteError(MessageError):
    """A client's message is well formed, but holds NaN or infinity, as after training that diverged."""
