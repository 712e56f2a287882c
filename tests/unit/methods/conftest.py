"""Fixtures that tests of methods share."""

from __future__ import annotations

import pytest
from torch import nn

from tests.support.method_inputs import build_module


@pytest.fixture
def module() -> nn.Module:
    """A small untrained resnet8."""
    return build_module()
