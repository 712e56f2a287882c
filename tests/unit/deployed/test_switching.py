"""The device's part of a deployment: a process that is killed at any step leaves one verified version that runs."""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scipy import stats

from edgeproof.connection.subprocesses import MAX_TAIL_BYTES
from edgeproof.core import ed25519, signatures
from edgeproof.core.directories import hash_file
from edgeproof.deployed import deployer, layout, measurement, switching, trial
from edgeproof.deployed.switching import Change
from edgeproof.deployed.trial import TrialSettings
from edgeproof.deployment import answers, device_program
from edgeproof.records import signing
from tests.support.deployment_project import KEY, SIGNER, sign_bundle, write_small_bundle
from tests.support.file_changes import observe_changes

SETTINGS = TrialSettings(threads=1, cores=None, timeout_s=10, measure_s=0, latency_ms=None, memory_mb=None)
OTHER_SIGNER = f"SHA256:{'x' * 43}"


@pytest.fixture(autouse=True)
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in a board's directory. Programs of bundles are not started, and signatures are verified once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "run_program", lambda *_: (0, ""))
    monkeypatch.setattr(ed25519, "verify", functools.cache(ed25519.verify))
    return tmp_path


def send(label: str) -> str:
    """Put a signed bundle where a transport puts it, and return the sha256 of its manifest."""
    place = Path(f"sent-{label}")
    if not place.exists():
        write_small_bundle(place, label)
    sha256 = hash_file(place / "MANIFEST.json")
    target = layout.ROOT / layout.INCOMING / sha256
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", place, target], check=True)
    return sha256


def activate(label: str, signer: str = SIGNER) -> str:
    return switching.activate(send(label), label, signer, "2026-01-01", SETTINGS).outcome


def read_running() -> str | None:
    """Return the label that the files of the current version hold, after these were verified."""
    current = layout.read_current()
    if current is None:
        return None
    assert layout.find_problems(current, SIGNER) == []
    return (layout.locate_bundle(current) / "artifact/model").read_text()


def list_kill_steps(action: Callable[[], object]) -> Iterator[int]:
    """Run an action in a process that is killed before its first change of a file, then before its second, and so on.

    Yields the number of each step after the kill, until the action ends by itself.
    """
    for step in range(1, 1000):
        pid = os.fork()
        if pid == 0:
            remaining = step

            def count_change() -> None:
                nonlocal remaining
                remaining -= 1
                if remaining == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            code = 1
            try:
                observe_changes(count_change)
                action()
                code = 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code == 0:
            assert step > 3, "the action changes files"
            return
        assert code == -signal.SIGKILL, "the action fails by itself"
        yield step
    pytest.fail("the action does not end")


@pytest.mark.parametrize("before", [(), ("one",), ("one", "two")], ids=["first", "second", "third"])
def test_a_deployment_that_is_killed_at_any_step_leaves_a_verified_version_and_can_be_repeated(
    before: tuple[str, ...],
) -> None:
    for label in before:
        activate(label)
    send("new")
    subprocess.run(["cp", "-a", "deployment", "start"], check=True)
    for step in list_kill_steps(lambda: activate("new")):
        allowed = {"new", before[-1] if before else None}
        assert read_running() in allowed, step
        assert activate("new") in ("switched", "unchanged")
        assert read_running() == "new"
        previous = layout.read_previous(layout.read_current())
        assert (None if previous is None else previous.label) == (before[-1] if before else None)
        assert len(layout.list_versions()) == min(2, len(before) + 1)
        assert list((layout.ROOT / layout.INCOMING).iterdir()) == []
        subprocess.run("rm -rf deployment && cp -a start deployment", shell=True, check=True)


def test_a_rollback_that_is_killed_at_any_step_leaves_a_verified_version_and_can_be_repeated() -> None:
    activate("one")
    activate("two")
    current = layout.read_current()
    assert current is not None
    subprocess.run(["cp", "-a", "deployment", "start"], check=True)
    for _ in list_kill_steps(lambda: switching.roll_back(current.sha256, "2026-01-02", SETTINGS)):
        assert read_running() in ("one", "two")
        outcome = switching.roll_back(current.sha256, "2026-01-02", SETTINGS).outcome
        assert outcome == "switched" or read_running() == "one"
        after = layout.read_current()
        assert after is not None
        assert (after.label, after.origin, after.previous) == ("one", "rollback", None)
        subprocess.run("rm -rf deployment && cp -a start deployment", shell=True, check=True)


def test_a_full_disk_before_the_switch_leaves_the_version_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    activate("one")
    synced: list[Path] = []
    full_at: list[int] = []
    sync = layout.sync

    def sync_until_full(path: Path) -> None:
        synced.append(path)
        if len(synced) in full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(path)

    monkeypatch.setattr(layout, "sync", sync_until_full)
    for count in range(1, 12):
        synced.clear()
        full_at[:] = [count]
        with pytest.raises(OSError, match="No space left"):
            activate("two")
        assert read_running() == "one"
    synced.clear()
    full_at.clear()
    assert activate("two") == "switched"
    names = {path.name for path in synced[:-1]}
    assert {"MANIFEST.json", "MANIFEST.sig", "model", "bundle.json", "version.json", "artifact", "bundle"} <= names
    assert synced[-1] == layout.ROOT, "the directory of the link is written last"


@pytest.mark.parametrize("name", ["artifact/model", "bundle.json", "MANIFEST.json", "MANIFEST.sig"])
def test_a_bundle_that_was_changed_on_its_way_is_removed_and_has_to_be_sent_again(name: str) -> None:
    activate("one")
    path = layout.ROOT / layout.INCOMING / send("two") / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    change = switching.activate(path.parents[name.count("/")].name, "two", SIGNER, "2026-01-01", SETTINGS)
    assert change.outcome == "missing"
    assert change.reasons
    assert read_running() == "one"
    assert len(layout.list_versions()) == 1
    assert activate("two") == "switched"


def test_a_bundle_of_another_signer_or_without_a_signature_never_runs() -> None:
    assert activate("one", OTHER_SIGNER) == "missing"
    path = layout.ROOT / layout.INCOMING / send("two")
    sign_bundle(path, key=None)
    renamed = path.with_name(hash_file(path / "MANIFEST.json"))
    path.rename(renamed)
    change = switching.activate(renamed.name, "two", SIGNER, "", SETTINGS)
    assert change.outcome == "missing"
    assert "is not signed" in change.reasons[0]
    assert layout.read_current() is None


def test_a_link_that_leads_outside_is_never_the_current_version(board: Path) -> None:
    activate("one")
    target = (layout.ROOT / layout.CURRENT).readlink()
    (layout.ROOT / layout.CURRENT).unlink()
    (layout.ROOT / layout.CURRENT).symlink_to(board / "deployment" / target)
    assert layout.read_current() is None
    (layout.ROOT / layout.CURRENT).unlink()
    (layout.ROOT / layout.CURRENT).symlink_to("versions/../versions")
    assert layout.read_current() is None


def test_damaged_facts_about_a_version_do_not_stop_a_deployment() -> None:
    activate("one")
    activate("two")
    current = layout.read_current()
    assert current is not None
    other_types = json.dumps({"label": "", "since": [], "origin": {}, "signer": None, "previous": 3})
    for content in ("", "[]", '{"label": 1}', "[" * 100_000):
        (layout.ROOT / layout.VERSIONS / current.name / layout.ABOUT).write_text(content)
        damaged = layout.read_current()
        assert damaged is not None
        assert damaged.label == "unknown"
    (layout.ROOT / layout.VERSIONS / current.name / layout.ABOUT).write_text(other_types)
    assert activate("three") == "switched"


def test_a_version_without_facts_gets_them_back_when_it_is_deployed_again() -> None:
    activate("one")
    activate("two")
    current = layout.read_current()
    assert current is not None
    (layout.ROOT / layout.VERSIONS / current.name / layout.ABOUT).unlink()
    assert switching.inspect(SETTINGS).outcome == "refused"
    assert activate("two") == "unchanged"
    repaired = layout.read_current()
    assert repaired is not None
    assert (repaired.label, repaired.signer) == ("two", SIGNER)
    assert switching.inspect(SETTINGS).outcome == "intact"


def test_an_answer_about_damaged_files_is_one_that_the_host_accepts() -> None:
    activate("one")
    current = layout.read_current()
    assert current is not None
    place = layout.locate_bundle(current)
    (place / "bundle.json").write_text('{"runtime": "../onnx"}')
    facts = {"label": "x" * 5000, "since": "y" * 5000, "origin": "", "signer": None, "previous": None}
    (place.parent / layout.ABOUT).write_text(json.dumps(facts))
    for number in range(50):
        (place / f"{'z' * 200}{number}").touch()
    Path(os.fsdecode(os.fsencode(place) + b"/\xff")).touch()
    change = deployer.carry_out({"verb": "status", "nonce": "n"})
    answer = answers.parse_answer(json.dumps(deployer.describe({"nonce": "n"}, change)), "n")
    assert answer.outcome == "refused"
    assert len(answer.reasons) == deployer.MAX_REASONS + 1
    assert answer.reasons[-1] == "and 32 more"
    assert answer.current is not None
    assert (answer.current.runtime, answer.current.label) == (None, "x" * deployer.MAX_TEXT_CHARACTERS)
    long_reasons = [["\U0001f600" * 9000, "short"], ["\U0001f600" * 9000] * 1000]
    for reasons in long_reasons:
        output = json.dumps(deployer.describe({"nonce": "n"}, Change("refused", reasons)))
        assert len(output) < MAX_TAIL_BYTES
        assert answers.parse_answer(output, "n").reasons[0] == "\U0001f600" * deployer.MAX_TEXT_CHARACTERS


def test_a_deployment_program_answers_with_one_line_that_names_the_request(tmp_path: Path) -> None:
    program = device_program.pack_program(tmp_path / "programs")
    activate("one")
    request = json.dumps({"verb": "status", "nonce": "n-1"})
    done = subprocess.run([sys.executable, "-I", program, request], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    assert (answer["nonce"], answer["outcome"], answer["current"]["label"]) == ("n-1", "intact", "one")
    assert answer["current"]["signer"] == signatures.fingerprint(signing.get_public_key(KEY))


def test_a_program_with_one_wrong_bit_in_any_of_its_files_is_damaged(tmp_path: Path) -> None:
    program = device_program.pack_program(tmp_path / "programs")
    assert not deployer.is_damaged(str(program))
    content = program.read_bytes()
    with zipfile.ZipFile(program) as archive:
        members = [member for member in archive.infolist() if member.file_size]
    for member in members:
        begin = member.header_offset + zipfile.sizeFileHeader + len(member.filename.encode())
        damaged = bytearray(content)
        damaged[begin + member.compress_size // 2] ^= 1
        program.write_bytes(bytes(damaged))
        assert deployer.is_damaged(str(program)), member.filename


def test_a_damaged_program_carries_out_nothing_and_gives_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "deployer.pyz"), '{"verb": "status", "nonce": "n"}'])
    monkeypatch.setattr(deployer, "is_damaged", lambda program: True)
    assert deployer.main() == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "deployer.pyz is damaged" in printed.err


# --- the short measurement -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [36, 64, 100, 1000, 20_000])
def test_the_upper_rank_is_the_smallest_one_above_the_percentile_with_the_confidence(count: int) -> None:
    rank = trial.find_upper_rank(count, 0.9)
    assert rank is not None
    assert stats.binom.cdf(rank - 1, count, 0.9) >= trial.CONFIDENCE - 1e-9
    assert stats.binom.cdf(rank - 2, count, 0.9) < trial.CONFIDENCE


def test_too_few_inferences_have_no_upper_end() -> None:
    assert trial.find_upper_rank(35, 0.9) is None
    assert trial.find_upper_rank(measurement.MIN_INFERENCES, 0.9) is not None


def test_the_memory_of_the_program_that_starts_a_measurement_is_not_counted() -> None:
    code = """
import subprocess, sys
memory = bytearray(300_000_000)
print_peak = "from edgeproof.deployed import measurement; print(measurement.read_peak_rss_bytes())"
sys.exit(subprocess.run([sys.executable, "-c", print_peak]).returncode)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5_000_000 < int(done.stdout) < 200_000_000


def test_figures_are_within_their_limit_only_with_their_whole_interval() -> None:
    durations_ns = [*range(1_000_000, 1_000_100)]
    figures = trial.parse_measurement(json.dumps({"durations_ns": durations_ns, "peak_rss_bytes": 5_000_000}))
    assert figures is not None
    assert (figures.inferences, figures.p90_ns) == (100, 1_000_089)
    assert figures.p90_upper_ns == durations_ns[int(stats.binom.ppf(trial.CONFIDENCE, 100, 0.9))]

    def limit(latency_ms: float | None, memory_mb: float | None) -> int:
        return len(trial.find_exceeded(figures, TrialSettings(1, None, 1, 0, latency_ms, memory_mb)))

    assert limit(None, None) == limit(figures.p90_upper_ns / 1e6, 5.0) == 0
    assert limit(figures.p90_ns / 1e6, 5.0) == limit(2.0, 4.9) == 1
    assert limit(0.5, 4.9) == 2


@pytest.mark.parametrize(
    "output",
    ["", "done", "{}", '{"durations_ns": [1], "peak_rss_bytes": 1}', '{"durations_ns": [Infinity]}', "[" * 100_000],
)
def test_a_measurement_without_a_result_never_passes(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "run_program", lambda _, arguments, __: (0, output))
    problems, figures = trial.run_trial(Path(), SIGNER, TrialSettings(1, None, 1, 0, 1000.0, None))
    assert problems
    assert figures is None
