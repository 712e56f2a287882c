"""Differences between the device that sent a result and its card."""

from __future__ import annotations

from edgeproof.config.cards import Fingerprint
from edgeproof.devices import device

CARD = Fingerprint(architecture="aarch64")


def test_another_device_is_noticed_and_a_runner_that_was_killed_reports_none() -> None:
    assert device.list_changes_of_result(CARD, {"fingerprint": {"architecture": "x86_64"}}) == [
        "architecture: aarch64 → x86_64"
    ]
    assert device.list_changes_of_result(CARD, {"fingerprint": {"architecture": "aarch64"}}) == []
    assert device.list_changes_of_result(CARD, {"status": "error", "error": "ended by SIGKILL"}) == []
