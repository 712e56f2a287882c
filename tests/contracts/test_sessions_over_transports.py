"""A whole session leaves the same records through every transport."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeproof.bench import session
from edgeproof.config.params import Params
from edgeproof.core import plugins
from edgeproof.records import record_files
from tests.support import boards
from tests.support.bench_project import build_study, write_project
from tests.support.record_trees import count_correct
from tests.support.verdict_limits import TOLERANT

ALIAS = {"ssh": "board", "adb": "serial-1"}


@pytest.fixture(params=plugins.list_names("transports"))
def project(
    request: pytest.FixtureRequest, plugin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Write a project whose device 'desk' uses one transport; yield the transport's name."""

    monkeypatch.chdir(tmp_path)
    with boards.open_device(request.param, tmp_path, monkeypatch):
        write_project(tmp_path)
        path = tmp_path / "devices" / "desk.yaml"
        card: dict[str, Any] = {
            **yaml.safe_load(path.read_text()),
            "transport": request.param,
            "python": sys.executable,
        }
        if request.param in ALIAS:
            card["host"] = ALIAS[request.param]
        path.write_text(yaml.safe_dump(card))
        yield request.param


def test_a_session_leaves_the_same_records_through_every_transport(digits_study: Params, project: str) -> None:
    session.run_study_session("desk_matrix", build_study(digits_study, transport=project), TOLERANT)
    root = Path("results/records/desk_matrix")
    records = {str(record.directory.relative_to(root)): record for record in record_files.read_all(root)}
    assert {name: record.verdict for name, record in records.items()} == {
        "null/m.fp32/single_stream.0": "valid",
        "matrix/m.fp32/accuracy.0": "valid",
        "matrix/m.fp32/accuracy.1": "invalid",  # below the floor, as it should be
        "matrix/m.fp32/single_stream.0": "valid",
        "matrix/m.fp32/server.0": "valid",
        "matrix/m.fp32/profile.0": "valid",
        "matrix/m.int8-static/unsupported.0": "unsupported",
    }
    assert count_correct(records["matrix/m.fp32/accuracy.0"]) == (40, 50)
    single = records["matrix/m.fp32/single_stream.0"]
    assert (
        len(single.read_array("latencies.npz", "call_ns")) == single.content["result"]["loadgen"]["result_query_count"]
    )
