"""Control of child processes."""

from __future__ import annotations

import signal
import sys

_PR_SET_PDEATHSIG = 1


def name_signal(number: int) -> str:
    """Return the name of a signal, such as SIGKILL, or 'signal 37' for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def die_with_parent(death_signal: signal.Signals) -> None:
    """Make the kernel send `death_signal` to this process when its parent ends.

    Only Linux offers this; elsewhere the function does nothing.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal)
