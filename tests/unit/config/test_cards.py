"""Device cards: one YAML file for each device, checked before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproof.config import cards as config_cards
from edgeproof.core.errors import ConfigError, UnknownNameError
from tests.support.project import ROOT


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    (tmp_path / "desk.yaml").write_text("transport: local\nthreads: 4\n")
    return tmp_path


def test_a_card_is_read_with_its_defaults(cards: Path) -> None:
    card = config_cards.read("desk", cards)
    assert (card.transport, card.threads, card.python) == ("local", 4, None)
    assert card.timeout_s > 0


def test_the_error_for_an_unknown_device_names_the_nearest_and_the_file_to_add(cards: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown device 'desc'\. Did you mean 'desk'\?") as failure:
        config_cards.read("desc", cards)
    assert "desc.yaml" in str(failure.value)


def test_a_missing_directory_has_no_cards(tmp_path: Path) -> None:
    assert config_cards.list_names(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("transport: local\n", "threads: Field required"),
        ("transport: local\nthreads: 0\n", "threads"),
        ("transport: local\nthreads: 1000\n", "threads"),
        ("transport: local\nthreads: '4'\n", "threads"),
        ("transport: local\nthreads: 1\ntimeout_s: 0\n", "timeout_s"),
        ("transport: local\nthreads: 1\ntimeout: 5\n", "Did you mean 'timeout_s'?"),
        ("transport: ../local\nthreads: 1\n", "transport"),
        ("threads: [1\n", "not YAML"),
        ("", "problem"),
        ("- transport\n", "problem"),
    ],
)
def test_the_error_for_a_wrong_card_names_its_file_and_key(cards: Path, text: str, problem: str) -> None:
    (cards / "board.yaml").write_text(text)
    with pytest.raises(ConfigError) as failure:
        config_cards.read("board", cards)
    assert "board.yaml" in str(failure.value)
    assert problem in str(failure.value)


def test_a_card_that_is_not_text_is_a_config_error(cards: Path) -> None:
    (cards / "board.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"board\.yaml"):
        config_cards.read("board", cards)


def test_the_error_for_an_unknown_transport_suggests_the_nearest(cards: Path) -> None:
    (cards / "board.yaml").write_text("transport: locl\nthreads: 1\n")
    with pytest.raises(UnknownNameError, match=r"unknown transport 'locl'\. Did you mean 'local'\?"):
        config_cards.read("board", cards)


# --- all keys ------------------------------------------------------------------------------------------------------

HOSTILE = ("-oProxyCommand=x", "a b", "a;b", "$(x)", "a@b", "a/../b", "")
FULL = """
transport: ssh
host: pi4
architecture: aarch64
threads: 2
cores: [2, 3]
memory_mb: 900
python: /home/pi/venv/bin/python
runtimes: {tflite: null, onnx: /opt/onnx/bin/python}
fingerprint: {cpu: Cortex-A72, cores: 4, kernel: 6.1.0, memory_bytes: 4000000000}
budget: {size_mb: 12, latency_ms: 50, memory_mb: 1000, energy_mj: 5, min_placement: 0.9}
cool_down_s: 5
tags: [arm, kitchen]
energy_counter: /sys/class/hwmon/hwmon2/energy1_input
"""


def test_a_card_with_every_kind_of_key_is_read(cards: Path) -> None:
    (cards / "pi.yaml").write_text(FULL)
    card = config_cards.read("pi", cards)
    assert (card.host, card.cores, card.tags) == ("pi4", [2, 3], ["arm", "kitchen"])
    assert card.budget is not None
    assert card.budget.latency_ms == 50


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("bugdet: {size_mb: 1}", "Did you mean 'budget'?"),
        ("budget: {latency: 50}", "Did you mean 'latency_ms'?"),
        ("budget: {size_mb: 0}", "budget.size_mb"),
        ("budget: {min_placement: 90}", "budget.min_placement: Input should be less than or equal to 1"),
        ("fingerprint: {kernl: '6'}", "Did you mean 'kernel'?"),
        ("cores: []", "cores"),
        ("cores: [0, 0]", "without repetition"),
        ("cores: [-1]", "numbers from 0"),
        ("cores: [0]\nthreads: 2", "2 threads need 2 cores, but 'cores' lists 1"),
        ("memory_mb: 1", "memory_mb"),
        ("tags: [Kitchen Table]", "tags.0"),
        ("title: ' a space first'", "title"),
        ('title: "a\\x1b[31mred"', "title"),
        (f"title: {'x' * 61}", "title"),
        ("runtimes: {tflit: null}", "Did you mean 'tflite'?"),
        ("npu: ethos-u55", "npu"),
        ("npu: ethos-u55-128\ninstructions: perf", "'npu' and 'instructions' are mutually exclusive"),
        ("npu: ethos-u55-128\nemulated: true", "'npu' and 'emulated' are mutually exclusive"),
        ("emulated: true", "'emulated' needs another transport than 'local'"),
        ("emulated: perhaps", "emulated"),
        ("host: pi", "transport 'local' takes no 'host'"),
        ("transport: ssh", "transport 'ssh' needs 'host', an alias of ~/.ssh/config"),
        ("transport: adb", "transport 'adb' needs 'host'"),
        ("timeout_s: 1000000000000000000000000000000", "timeout_s: Input should be at most"),
        ("timeout_s: 604801", "timeout_s: Input should be less than or equal to 604800"),
        ("memory_mb: 100000001", "memory_mb"),
        ("cool_down_s: .inf", "cool_down_s: Input should be a finite number"),
        ("cool_down_s: .nan", "cool_down_s: Input should be a finite number"),
        ("budget: {size_mb: .inf}", "budget.size_mb: Input should be a finite number"),
        ("budget: {latency_ms: 1.0e+7}", "budget.latency_ms: Input should be less than or equal to"),
        ("cores: [8192]", "numbers from 0 to 8191"),
        ("fingerprint: {cores: 100000}", "fingerprint.cores"),
        ("fingerprint: {memory_bytes: 1000000000000000000000000000000}", "memory_bytes: Input should be at"),
        ("python: '-c'", "python"),
        ("python: \"python3\\nrm\"", "python"),
        *((f"transport: ssh\nhost: {host!r}", "host") for host in HOSTILE),
    ],
)  # fmt: skip
def test_the_error_for_a_wrong_key_of_a_card_names_the_problem(cards: Path, lines: str, problem: str) -> None:
    given = dict(part.split(": ", 1) for part in lines.split("\n"))
    whole = {"transport": "local", "threads": "1", **given}
    (cards / "board.yaml").write_text("".join(f"{key}: {value}\n" for key, value in whole.items()))
    with pytest.raises(ConfigError) as failure:
        config_cards.read("board", cards)
    assert problem in str(failure.value)
    assert "Traceback" not in str(failure.value)


def test_the_card_of_a_real_camera_in_the_documents_is_valid_and_has_the_budget_of_the_simulated_one(
    tmp_path: Path,
) -> None:
    text = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    card = text.partition("<!-- card: camera -->\n```yaml\n")[2].partition("```")[0]
    (tmp_path / "camera.yaml").write_text(card)
    camera = config_cards.read("camera", tmp_path)
    assert (camera.transport, camera.architecture, camera.cores) == ("ssh", "armv7l", [0, 1])
    assert camera.budget == config_cards.read("smart_camera", ROOT / "devices").budget
