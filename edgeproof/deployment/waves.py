"""Waves: the parts of a roll-out. The next wave begins only after every device of the one before has succeeded."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from edgeproof.core.errors import ConfigError

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)%")


def count_devices(wave: str | None, total: int) -> int:
    """Return the number of devices in each wave.

    `wave` is a number of devices, a share such as '10%', or None for a single wave. A share is rounded up. Raises
    ConfigError for anything else.
    """
    if wave is None:
        return total
    match = _PERCENT.fullmatch(wave)
    if match is not None and 0 < float(match[1]) <= 100:
        return math.ceil(total * float(match[1]) / 100)
    if match is None and wave.isascii() and wave.isdigit() and int(wave) > 0:
        return int(wave)
    raise ConfigError(f"a wave is a number of devices or a share of them, such as 3 or 10%, not {wave!r:.40}.")


def split(devices: Sequence[str], size: int) -> list[Sequence[str]]:
    """Split devices into waves of `size`; the last one may be smaller. The order is kept."""
    return [devices[start : start + size] for start in range(0, len(devices), size)]
