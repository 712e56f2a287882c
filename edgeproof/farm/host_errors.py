"""Recognize errors of this host that pass, such as a full disk. They say nothing about the device or the study."""

from __future__ import annotations

import errno

TRANSIENT_CODES = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ETXTBSY),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK, errno.EDEADLK, errno.EREMOTEIO, errno.ETIMEDOUT),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN, errno.ECONNRESET),
    }
)


def is_transient(error: BaseException) -> bool:
    """Return True for an OSError of this host that may pass, and for an error that was raised because of one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in TRANSIENT_CODES:
            return True
        cause = cause.__cause__
    return False
