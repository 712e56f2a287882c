"""Tests of the alarms' format on disk."""

from __future__ import annotations

import json
import math

import pytest

from edgeproof.farm import alarms
from edgeproof.farm.alarm_details import ArtifactNight, FingerprintDetails, MissingDetails, SlowdownDetails
from edgeproof.farm.alarms import Alarm
from edgeproof.statistics.comparison import Comparison, compare_logs

COMPARISON = compare_logs([0.0] * 10, [0.05 + 0.001 * n for n in range(10)], paired=True)
SLOWDOWN = SlowdownDetails(
    1.06, "2026-01-01", ArtifactNight("2026-01-01", "a" * 64), ArtifactNight("2026-01-02", "b" * 64), ["commit: a → b"]
)


@pytest.mark.parametrize(
    "alarm",
    [
        Alarm("missing", "2026-01-02", "cell", "no record", MissingDetails("2026-01-01")),
        Alarm("fingerprint", "2026-01-02", "board", "cpu: a → b", FingerprintDetails(["cpu: a → b"], {"cell": 1.5})),
        Alarm("unconfirmed", "2026-01-02", "cell", "6.0% slower", SLOWDOWN),
        Alarm("conditions", "2026-01-02", "cell", "6.0% slower"),
    ],
)
def test_an_alarm_is_read_as_it_was_written(alarm: Alarm) -> None:
    alarms.write(alarm)
    assert alarms.find_latest(alarm.run, alarm.subject) == alarm


def test_an_alarm_keeps_its_comparison_and_stores_no_infinity() -> None:
    comparison = Comparison(**{**COMPARISON.__dict__, "smallest_detectable_ratio": math.inf})
    details = SlowdownDetails(**{**SLOWDOWN.__dict__, "comparison": comparison})
    alarms.write(Alarm("regression", "2026-01-02", "cell", "6.0% slower", details))
    alarm = alarms.find_latest("2026-01-02", "cell")
    assert alarm is not None
    assert isinstance(alarm.details, SlowdownDetails)
    assert alarm.details.comparison is not None
    assert alarm.details.comparison.ratio == COMPARISON.ratio
    assert alarm.details.comparison.processes == (10, 10)
    assert math.isnan(alarm.details.comparison.smallest_detectable_ratio)


def test_the_file_has_the_keys_of_schema_1() -> None:
    alarms.write(Alarm("unconfirmed", "2026-01-02", "cell", "6.0% slower", SLOWDOWN))
    (path,) = alarms.ALARMS.rglob(alarms.ALARM_FILE)
    content = json.loads(path.read_text())
    assert set(content) == {"schema", "kind", "run", "subject", "told", "details"}
    assert content["details"] == {
        "ratio": 1.06,
        "since": "2026-01-01",
        "good": {"run": "2026-01-01", "artifact": "a" * 64},
        "suspect": {"run": "2026-01-02", "artifact": "b" * 64},
        "changed": ["commit: a → b"],
    }
