"""The digits study before its validation, as content that a test may change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeproof.config import compose
from tests.support.project import ROOT


@pytest.fixture(scope="session")
def digits_content() -> dict[str, Any]:
    """Return the digits study as Hydra composes it. It is composed once, because that takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGEPROOF_PLUGINS", raising=False)
        patch.chdir(ROOT)
        return compose._compose_study("digits", [], compose.CONF)


@pytest.fixture
def content(digits_content: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the digits study that the test may change."""
    return json.loads(json.dumps(digits_content))
