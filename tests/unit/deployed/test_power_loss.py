"""A board that loses its power at any step of a deployment runs one verified version when it starts again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeproof.core.directories import hash_file
from edgeproof.deployed import layout, switching, trial
from edgeproof.deployed.trial import TrialSettings
from edgeproof.transports.local import Transport
from tests.support.deployment_project import SIGNER, write_small_bundle
from tests.support.file_changes import observe_changes
from tests.support.power_losses import Disk, Loss, explain_missing_right, mount_disk

SETTINGS = TrialSettings(threads=1, cores=None, timeout_s=10, measure_s=0, latency_ms=None, memory_mb=None)
LABELS = ("one", "two", "new")
# A model is its label many times: more than ext4 keeps beside the names of files, so it is lost without a sync.
REPETITIONS = 20_000

pytestmark = pytest.mark.thorough


@pytest.fixture(autouse=True)
def _run_no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "run_program", lambda *_: (0, ""))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Yield a board's disk. The bundles are beside it, on the host."""
    (tmp_path / "trial").mkdir()
    if (reason := explain_missing_right(tmp_path / "trial")) is not None:
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    for label in LABELS:
        write_small_bundle(tmp_path / label, label * REPETITIONS)
    with mount_disk(tmp_path) as disk:
        yield disk


class Board:
    """A board that works on a disk. The working directory is the disk's only while the board works."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.host = disk.place.parent

    def deploy(self, label: str) -> str:
        """Send a bundle as a host does, and make it current. Return the outcome."""
        place = self.host / label
        sha256 = hash_file(place / "MANIFEST.json")
        os.chdir(self.disk.place)
        try:
            if sha256 not in {version.sha256 for version in layout.list_versions()}:
                self._push(place, sha256)
            change = switching.activate(sha256, label, SIGNER, "2026-01-01", SETTINGS)
            if change.outcome == "missing":
                self._push(place, sha256)
                change = switching.activate(sha256, label, SIGNER, "2026-01-01", SETTINGS)
            return change.outcome
        finally:
            os.chdir(self.host)

    def _push(self, place: Path, sha256: str) -> None:
        Transport(self.disk.place).push(place, f"{layout.ROOT}/{layout.INCOMING}/{sha256}")

    def roll_back(self, label: str) -> str:
        """Go back from a version. Return the outcome."""
        os.chdir(self.disk.place)
        try:
            sha256 = hash_file(self.host / label / "MANIFEST.json")
            return switching.roll_back(sha256, "2026-01-02", SETTINGS).outcome
        finally:
            os.chdir(self.host)

    def read_running(self) -> str | None:
        """Return the version that runs, 'none' if there is none, or None if its files are damaged."""
        os.chdir(self.disk.place)
        try:
            current = layout.read_current()
            if current is None:
                return "none" if not layout.ROOT.joinpath(layout.CURRENT).is_symlink() else None
            if layout.find_problems(current, SIGNER) or current.label == "unknown":
                return None
            model = (layout.locate_bundle(current) / "artifact/model").read_text()
            return model[: len(model) // REPETITIONS]
        finally:
            os.chdir(self.host)


def lose_power_at_every_step(board: Board, action: Callable[[], str], loss: Loss) -> Iterator[tuple[int, bool]]:
    """Run an action, and let the board lose its power before its first change, then before its second, and so on.

    The last loss is the moment after the action. Yields the number of the step and whether the action was finished,
    with the disk mounted again. The disk is as before the action at every start.
    """
    copy = board.host / "start.img"
    board.disk.save(copy)
    for step in range(1, 1000):
        is_finished = _run_until_loss(board.disk, action, step, loss)
        board.disk.unmount()
        board.disk.mount()
        yield step, is_finished
        board.disk.restore(copy)
        if is_finished:
            assert step > 10, "the action changes files"
            return
    pytest.fail("the action does not end")


def _run_until_loss(disk: Disk, action: Callable[[], str], step: int, loss: Loss) -> bool:
    """Run an action in a process of its own until its change number `step`. Return True if it was finished before."""
    pid = os.fork()
    if pid == 0:
        remaining = step

        def count_change() -> None:
            nonlocal remaining
            remaining -= 1
            if remaining == 0:
                disk.lose_power(loss)
                os._exit(0)

        sync = layout.sync

        def observe_sync(path: Path) -> None:
            count_change()
            sync(path)

        try:
            layout.sync = observe_sync
            observe_changes(count_change)
            outcome = action()
            disk.lose_power(loss)
            os._exit(1 if outcome == "switched" else 2)
        finally:
            os._exit(3)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 1), "the action fails by itself"
    return code == 1


@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("before", [(), ("one",), ("one", "two")], ids=["first", "second", "third"])
def test_a_loss_of_power_at_any_step_of_a_deployment_leaves_a_verified_version(
    before: tuple[str, ...], loss: Loss, disk: Disk
) -> None:
    board = Board(disk)
    assert [board.deploy(label) for label in before] == ["switched"] * len(before)
    old = before[-1] if before else "none"
    for step, is_finished in lose_power_at_every_step(board, lambda: board.deploy("new"), loss):
        assert board.read_running() in (("new",) if is_finished else ("new", old)), step
        assert board.deploy("new") in ("switched", "unchanged"), step
        assert board.read_running() == "new"


@pytest.mark.parametrize("loss", list(Loss))
def test_a_loss_of_power_at_any_step_of_a_rollback_leaves_a_verified_version(loss: Loss, disk: Disk) -> None:
    board = Board(disk)
    assert [board.deploy("one"), board.deploy("new")] == ["switched", "switched"]
    for step, is_finished in lose_power_at_every_step(board, lambda: board.roll_back("new"), loss):
        running = board.read_running()
        assert running in (("one",) if is_finished else ("one", "new")), step
        if running == "new":
            assert board.roll_back("new") == "switched"
        assert board.read_running() == "one"


@pytest.mark.parametrize("loss", list(Loss))
def test_without_syncs_a_loss_of_power_is_seen(loss: Loss, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(disk)
    board.deploy("one")
    monkeypatch.setattr(layout, "sync", lambda path: None)
    losses = lose_power_at_every_step(board, lambda: board.deploy("new"), loss)
    running = {is_finished: board.read_running() for _, is_finished in losses}
    assert running[True] in (None, "one"), "the version that was switched to is damaged or lost"
