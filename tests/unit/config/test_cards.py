"""Device cards: one YAML a device, checked before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeproof.config import cards as config_cards
from edgeproof.core.errors import ConfigError, UnknownNameError
from edgeproof.devices import device


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    (tmp_path / "desk.yaml").write_text("transport: local\nthreads: 4\n")
    return tmp_path


def test_a_card_is_read_with_its_defaults(cards: Path) -> None:
    card = config_cards.read("desk", cards)
    assert (card.transport, card.threads, card.python) == ("local", 4, None)
    assert card.timeout_s > 0


def test_an_unknown_device_is_refused_with_the_nearest_and_the_file_to_add(cards: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown device 'desc'\. Did you mean 'desk'\?") as caught:
        config_cards.read("desc", cards)
    assert "desc.yaml" in str(caught.value)


def test_where_there_are_no_cards_none_are_known(tmp_path: Path) -> None:
    assert config_cards.names(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("text", "told"),
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
def test_a_wrong_card_is_refused_by_its_file_and_key(cards: Path, text: str, told: str) -> None:
    (cards / "board.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        config_cards.read("board", cards)
    assert "board.yaml" in str(caught.value)
    assert told in str(caught.value)


def test_a_card_that_is_not_text_is_refused(cards: Path) -> None:
    (cards / "board.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"board\.yaml"):
        config_cards.read("board", cards)


def test_an_unknown_transport_is_refused_with_those_that_exist(cards: Path) -> None:
    (cards / "board.yaml").write_text("transport: locl\nthreads: 1\n")
    with pytest.raises(UnknownNameError, match=r"unknown transport 'locl'\. Did you mean 'local'\?"):
        config_cards.read("board", cards)


# --- whole cards ---------------------------------------------------------------------------------------------------

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
budget: {size_mb: 12, latency_ms: 50, memory_mb: 1000, energy_mj: 5}
cool_down_s: 5
tags: [arm, kitchen]
energy_counter: /sys/class/hwmon/hwmon2/energy1_input
"""


def test_a_whole_card_is_read(cards: Path) -> None:
    (cards / "pi.yaml").write_text(FULL)
    card = config_cards.read("pi", cards)
    assert (card.host, card.cores, card.tags) == ("pi4", [2, 3], ["arm", "kitchen"])
    assert card.budget is not None
    assert card.budget.latency_ms == 50
    assert device.choose_interpreter(card, "tflite") == "/home/pi/venv/bin/python"
    assert device.choose_interpreter(card, "onnx") == "/opt/onnx/bin/python"
    assert device.explain_missing_runtime("pi", card, "onnx") is None
    assert device.explain_missing_runtime("pi", card, "openvino") == (
        "device 'pi' has no runtime 'openvino' (its card lists tflite, onnx)"
    )


def test_the_interpreter_is_this_one_here_and_python3_on_a_board(cards: Path) -> None:
    (cards / "pi.yaml").write_text("transport: ssh\nhost: pi\nthreads: 1\n")
    assert device.choose_interpreter(config_cards.read("desk", cards), "onnx") == sys.executable
    assert device.choose_interpreter(config_cards.read("pi", cards), "onnx") == "python3"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("bugdet: {size_mb: 1}", "Did you mean 'budget'?"),
        ("budget: {latency: 50}", "Did you mean 'latency_ms'?"),
        ("budget: {size_mb: 0}", "budget.size_mb"),
        ("fingerprint: {kernl: '6'}", "Did you mean 'kernel'?"),
        ("cores: []", "cores"),
        ("cores: [0, 0]", "each named once"),
        ("cores: [-1]", "numbers from 0"),
        ("cores: [0]\nthreads: 2", "2 threads don't fit on 1"),
        ("memory_mb: 1", "memory_mb"),
        ("tags: [Kitchen Table]", "tags.0"),
        ("runtimes: {tflit: null}", "Did you mean 'tflite'?"),
        ("npu: ethos-u55", "npu"),
        ("npu: ethos-u55-128\ninstructions: perf", "leave out npu or instructions"),
        ("npu: ethos-u55-128\nemulated: true", "leave out npu or emulated"),
        ("emulated: true", "this machine is no emulator"),
        ("emulated: perhaps", "emulated"),
        ("host: pi", "transport 'local' takes no 'host'"),
        ("transport: ssh", "transport 'ssh' needs 'host', an alias of ~/.ssh/config"),
        ("transport: adb", "transport 'adb' needs 'host'"),
        ("python: '-c'", "python"),
        ("python: \"python3\\nrm\"", "python"),
        *((f"transport: ssh\nhost: {host!r}", "host") for host in HOSTILE),
    ],
)  # fmt: skip
def test_a_wrong_line_of_a_card_is_refused_by_what_it_says(cards: Path, line: str, told: str) -> None:
    given = dict(part.split(": ", 1) for part in line.split("\n"))
    whole = {"transport": "local", "threads": "1", **given}
    (cards / "board.yaml").write_text("".join(f"{key}: {value}\n" for key, value in whole.items()))
    with pytest.raises(ConfigError) as caught:
        config_cards.read("board", cards)
    assert told in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_fingerprint_is_compared_in_what_the_card_names(cards: Path) -> None:
    (cards / "pi.yaml").write_text(FULL)
    expected = config_cards.read("pi", cards).fingerprint
    told = {"cpu": "Cortex-A72", "cores": 4, "kernel": "6.1.0", "memory_bytes": 4_000_000_000, "libc": "new"}
    assert device.list_fingerprint_changes(expected, told) == []
    assert device.list_fingerprint_changes(expected, {**told, "kernel": "6.6.0"}) == ["kernel: 6.1.0 → 6.6.0"]
    assert device.list_fingerprint_changes(expected, {}) == [
        "cpu: Cortex-A72 → None", "cores: 4 → None", "memory_bytes: 4000000000 → None", "kernel: 6.1.0 → None",
    ]  # fmt: skip
    assert device.list_fingerprint_changes(None, told) == []
