"""Verdict limits for tests that run beside other work, which would otherwise refuse their runs as disturbed."""

from __future__ import annotations

import dataclasses
import math

from edgeproof.bench.verdict import VerdictLimits

_NOISE_LIMITS = [field.name for field in dataclasses.fields(VerdictLimits) if isinstance(field.default, float)]
# No state of the machine refuses a run.
TOLERANT = VerdictLimits(**dict.fromkeys(_NOISE_LIMITS, math.inf), requires_steady_state=False)  # type: ignore[arg-type]
# Every performance run is refused as disturbed.
REFUSING = dataclasses.replace(TOLERANT, drift=-1.0)
