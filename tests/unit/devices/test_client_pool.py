"""The pool of devices: which device trains which client, and what happens when one fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core.errors import ConfigError, DeviceError
from edgeproof.devices.clients import pool
from edgeproof.devices.clients.client_device import Outcome
from edgeproof.devices.clients.pool import Pool
from edgeproof.federated import workers
from edgeproof.federated.client import ClientJob, ClientResult
from tests.support.device_federations import write_card

NAN = b"nan"


class StubDevice:
    """A device whose answers are listed for each client; an entry that is a text is the reason of a failure."""

    def __init__(self, name: str, answers: dict[int, list[str | bytes]] | None = None) -> None:
        self.name = name
        self.answers = answers or {}
        self.trained: list[int] = []
        self.is_tidy = False

    def prepare(self) -> str | None:
        return None

    def tidy(self) -> None:
        self.is_tidy = True

    def train(self, template: object, job: ClientJob, settings: object) -> Outcome:
        self.trained.append(job.client)
        result = next(iter(self.answers.get(job.client, [])), b"%d" % job.client)
        del self.answers.get(job.client, [])[:1]
        if isinstance(result, str):
            raise DeviceError(result)
        return Outcome(ClientResult(result, None), is_finite=not result.startswith(NAN))


@pytest.fixture(autouse=True)
def without_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "make_job_template", lambda *arguments: object())


def list_jobs(clients: int) -> Iterator[ClientJob]:
    no: Any = None
    return (ClientJob(client, 1, no, b"") for client in range(clients))


def run(devices: list[StubDevice], clients: int) -> tuple[list[bytes], list[str]]:
    notes: list[str] = []
    stubs: Any = devices
    running = Pool(stubs, notes.append, Path())
    no: Any = None
    try:
        answers = [result.message for result in running.run_clients(no, list_jobs(clients), no) if result is not None]
    finally:
        running.close()
    assert all(device.is_tidy for device in devices)
    return answers, notes


def test_devices_take_clients_in_turn_and_answers_keep_the_order() -> None:
    a, b = StubDevice("a"), StubDevice("b")
    assert run([a, b], 5) == ([b"0", b"1", b"2", b"3", b"4"], [])
    assert (a.trained, b.trained) == ([0, 2, 4], [1, 3])


def test_a_round_without_clients_asks_no_device() -> None:
    assert run([StubDevice("a")], 0) == ([], [])


def test_a_client_is_trained_on_another_device_and_the_reason_is_noted() -> None:
    a, b = StubDevice("a", {0: ["the link was lost"]}), StubDevice("b")
    assert run([a, b], 2) == ([b"0", b"1"], ["a: the link was lost. Training client 0 in round 1 again on b."])


def test_a_device_that_failed_gets_no_further_clients_in_the_round() -> None:
    a = StubDevice("a", {0: ["down"], 2: ["down"]})
    b = StubDevice("b")
    answers, _ = run([a, b], 12)
    assert answers == [b"%d" % client for client in range(12)]
    assert set(a.trained) <= {0, 2}


def test_a_single_device_is_asked_twice() -> None:
    assert run([StubDevice("a", {1: ["lost"]})], 2)[0] == [b"0", b"1"]


def test_a_client_that_every_device_fails_stops_the_run_with_all_reasons() -> None:
    a, b = StubDevice("a", {0: ["broken", "broken still"]}), StubDevice("b", {0: ["full"]})
    with pytest.raises(DeviceError) as stopped:
        run([a, b], 1)
    assert str(stopped.value) == (
        "no device could train client 0 in round 1. a: broken; b: full; a: broken still. Repair a device, or change "
        "EDGEPROOF_FEDERATED_DEVICES, then run the same command again: it goes on with this round."
    )


def test_an_update_of_nan_counts_only_if_a_second_training_gives_it_again() -> None:
    assert run([StubDevice("a", {0: [NAN]}), StubDevice("b")], 1)[0] == [b"0"]
    assert run([StubDevice("a", {0: [NAN]}), StubDevice("b", {0: [NAN]})], 1)[0] == [NAN]
    assert run([StubDevice("a", {0: [NAN, NAN]})], 1)[0] == [NAN]
    assert run([StubDevice("a", {0: [NAN + b"1"] * 2}), StubDevice("b", {0: [NAN + b"2"]})], 1)[0] == [NAN + b"1"]


def test_control_characters_of_a_device_do_not_reach_the_terminal() -> None:
    _, notes = run([StubDevice("a", {0: ["\x1b[2Jgone"]}), StubDevice("b")], 1)
    assert "\x1b" not in notes[0]


def test_nothing_else_measures_on_a_board_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_card("here")
    write_card("pi", "ssh", host="pi")
    write_card("camera", "ssh", host="camera")
    held: list[str] = []

    @contextmanager
    def hold(device: str, *, here: bool) -> Iterator[None]:
        held.append(device)
        yield
        held.remove(device)

    monkeypatch.setattr(pool.locks, "hold_for_measuring", hold)
    monkeypatch.setattr(pool.ClientDevice, "prepare", lambda self: None)
    monkeypatch.setattr(pool.ClientDevice, "tidy", lambda self: None)
    with pool.open_devices(["pi", "here", "camera"], print):
        assert held == ["camera", "pi"]  # in one order everywhere, so that two federations never wait for each other
    assert held == []


@pytest.mark.parametrize("text", ["a,,b", "a,a", ","])
def test_wrong_lists_of_devices_are_refused(text: str) -> None:
    with (
        pytest.raises(ConfigError, match="must be names of devices, each once"),
        workers.open_workers(print, {workers.DEVICES: text}),
    ):
        pass


@pytest.mark.parametrize("other", [workers.WORKERS, workers.RAY])
def test_devices_and_other_places_exclude_each_other(other: str) -> None:
    with (
        pytest.raises(ConfigError, match=f"EDGEPROOF_FEDERATED_DEVICES and {other} are both set"),
        workers.open_workers(print, {workers.DEVICES: "local", other: "2"}),
    ):
        pass
