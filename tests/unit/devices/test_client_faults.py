"""Devices that fail while they train clients: the global model stays the same, or the run stops and goes on later."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproof.core.errors import DeviceError
from edgeproof.federated import workers
from edgeproof.federated.checkpoints import Checkpoints
from edgeproof.federated.history import Round
from edgeproof.federated.rounds import Federation, run_rounds
from edgeproof.federated.workers import DEVICES, run_here
from tests.support.device_federations import (
    make_device_federation,
    run_on_devices,
    write_card,
    write_interpreter,
)
from tests.support.federations import list_bits

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("restore_torch_settings"),
]

# Faults of a board: shell commands around its training.
FAULTS = {
    "killed": {"before": "kill -9 $$"},
    "damaged order": {"before": "printf x >> $job/job.json"},
    "wrong samples": {"before": "for file in $job/../*.npz; do printf x > $file; done"},
    "cut short": {"after": "head -c 100 $job/result/update.bin > cut; mv cut $job/result/update.bin"},
    "no result": {"after": "rm -r $job/result"},
    "endless": {"after": "head -c 100000000 /dev/zero > $job/result/update.bin"},
    "too slow": {"before": "sleep 60"},
}
# Those of `make test`: an end of the process, and a result that is not complete.
QUICK = ("killed", "cut short")
NAN = "printf '\\000\\000\\300\\177' | dd of=$job/result/update.bin bs=1 seek=24 conv=notrunc 2>/dev/null"


@pytest.fixture(autouse=True)
def work_in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)


def run_in_this_process(clients: int = 2, rounds: int = 1) -> tuple[Federation, tuple[Round, ...]]:
    federation = make_device_federation(clients, rounds=rounds)
    return federation, run_rounds(federation, run_here, Checkpoints(None))


@pytest.mark.parametrize(
    "fault", [fault if fault in QUICK else pytest.param(fault, marks=pytest.mark.thorough) for fault in FAULTS]
)
def test_a_client_whose_device_fails_is_trained_on_another(fault: str, tmp_path: Path) -> None:
    expected, history = run_in_this_process()
    write_card("good")
    limit = {"timeout_s": 1} if fault == "too slow" else {}
    write_card("bad", python=write_interpreter(tmp_path / "python", **FAULTS[fault]), **limit)
    federation = make_device_federation(2, rounds=1)
    again, notes = run_on_devices("good,bad", federation)
    assert again == history
    assert list_bits(federation.module) == list_bits(expected.module)
    assert len(notes) == 1
    assert notes[0].startswith("bad: ")
    assert notes[0].endswith("Training client 1 in round 1 again on good.")


def test_a_device_whose_link_is_lost_is_replaced_by_another(tmp_path: Path) -> None:
    expected, _ = run_in_this_process()
    write_card("good")
    write_card("bad", "fake")
    root = tmp_path / ".edgeproof/devices/bad"
    root.mkdir(parents=True)
    (root / "faults.yaml").write_text("- {call: pull, fault: link cut}\n")
    federation = make_device_federation(2, rounds=1)
    _, notes = run_on_devices("bad,good", federation)
    assert list_bits(federation.module) == list_bits(expected.module)
    assert notes == ["bad: the link to the device was lost. Training client 0 in round 1 again on good."]


def test_an_update_of_nan_from_a_faulty_device_is_not_used(tmp_path: Path) -> None:
    expected, history = run_in_this_process()
    write_card("good")
    write_card("bad", python=write_interpreter(tmp_path / "python", after=NAN))
    federation = make_device_federation(2, rounds=1)
    assert run_on_devices("bad,good", federation) == (
        history,
        ["bad: its update is not finite. Training client 0 in round 1 again on good."],
    )
    assert list_bits(federation.module) == list_bits(expected.module)


def test_a_run_that_no_device_could_continue_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    expected, history = run_in_this_process(rounds=2)
    flag = tmp_path / "broken"
    write_card("pi", python=write_interpreter(tmp_path / "python", before=f"[ ! -e {flag} ] || exit 7"))
    checkpoints = Checkpoints(tmp_path / "state")

    def break_device(entry: Round) -> None:
        flag.touch()

    with (
        pytest.raises(DeviceError, match=r"no device could train client 0 in round 2\. pi: .*exit code 7.*; pi: "),
        workers.open_workers(lambda text: None, {DEVICES: "pi"}) as run_clients,
    ):
        run_rounds(make_device_federation(2), run_clients, checkpoints, after_round=break_device)
    flag.unlink()
    federation = make_device_federation(2)
    assert run_on_devices("pi", federation, checkpoints) == (history, [])
    assert list_bits(federation.module) == list_bits(expected.module)
