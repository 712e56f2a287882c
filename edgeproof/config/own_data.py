"""Options that all kinds of tasks share. A kind is a file in edgeproof/task_kinds that reads a user's own data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgeproof.config.validation import Frozen, Id

Share = Annotated[float, Field(gt=0, lt=1)]


class OwnData(Frozen):
    """Options of every kind: where the data is, and the shares that are split off where it has no splits of its own."""

    path: str = Field(min_length=1, description="the file or folder of the data")
    validation_share: Share = Field(default=0.1, description="share of the training samples to validate with")
    test_share: Share = Field(default=0.2, description="share of all samples to test with, if no test data is given")
    metric: Id | None = Field(default=None, description="a file in edgeproof/metrics; by default that of the data")
