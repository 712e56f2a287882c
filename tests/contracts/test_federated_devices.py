"""A federation whose clients train on devices gives the same global model to the bit, through every transport."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeproof.federated.checkpoints import Checkpoints
from edgeproof.federated.rounds import run_rounds
from edgeproof.federated.settings import Compression, ServerStep
from edgeproof.federated.workers import run_here
from tests.support import boards
from tests.support.device_federations import make_device_federation, run_on_devices, write_card
from tests.support.federations import list_bits

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("restore_torch_settings")]
TOP_K = {"compression": Compression("top_k", 0.3), "late": 0.2, "step": ServerStep("fedavgm", 1.0, 0.5)}


@pytest.mark.parametrize(
    ("transport", "host", "changes"),
    [
        ("ssh", "board", TOP_K),
        pytest.param("adb", "serial-1", TOP_K, marks=pytest.mark.thorough),
        ("adb", "serial-1", {"compression": Compression("int8"), "from_parent": True}),
    ],
    ids=["ssh", "adb", "adb from a pruned parent"],
)
def test_clients_on_this_machine_and_on_a_board_give_the_same_model_to_the_bit(
    transport: str, host: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    expected = make_device_federation(**changes)
    history = run_rounds(expected, run_here, Checkpoints(None))
    write_card("here")
    write_card("board", transport, host=host)
    federation = make_device_federation(**changes)
    with boards.open_device(transport, tmp_path, monkeypatch):
        assert run_on_devices("here,board", federation) == (history, [])
    assert list_bits(federation.module) == list_bits(expected.module)
    places = [".edgeproof/devices/here", "home/.edgeproof/board" if transport == "ssh" else "android/board"]
    assert [list((tmp_path / place).iterdir()) for place in places] == [[], []]  # nothing stays on a device
