"""A device as its card describes it: its interpreter, its runtimes, and its differences from the card."""

from __future__ import annotations

import sys
from pathlib import Path

from edgeproof.config import cards
from edgeproof.config.cards import Card
from edgeproof.devices import device

CARD = """
transport: ssh
host: pi4
threads: 2
python: /home/pi/venv/bin/python
runtimes: {tflite: null, onnx: /opt/onnx/bin/python}
fingerprint: {cpu: Cortex-A72, cores: 4, kernel: 6.1.0, memory_bytes: 4000000000}
"""


def read_card(directory: Path, text: str) -> Card:
    (directory / "pi.yaml").write_text(text)
    return cards.read("pi", directory)


def test_the_interpreter_is_the_runtimes_own_or_the_cards(tmp_path: Path) -> None:
    card = read_card(tmp_path, CARD)
    assert device.choose_interpreter(card, "tflite") == "/home/pi/venv/bin/python"
    assert device.choose_interpreter(card, "onnx") == "/opt/onnx/bin/python"


def test_the_default_interpreter_is_the_transports(tmp_path: Path) -> None:
    local = read_card(tmp_path, "transport: local\nthreads: 4\n")
    assert device.choose_interpreter(local, "onnx") == sys.executable
    board = read_card(tmp_path, "transport: ssh\nhost: pi\nthreads: 1\n")
    assert device.choose_interpreter(board, "onnx") == "python3"


def test_a_missing_runtime_is_explained_with_the_runtimes_of_the_card(tmp_path: Path) -> None:
    card = read_card(tmp_path, CARD)
    assert device.explain_missing_runtime("pi", card, "onnx") is None
    assert device.explain_missing_runtime("pi", card, "openvino") == (
        "device 'pi' has no runtime 'openvino' (its card lists tflite, onnx)"
    )


def test_only_the_properties_in_the_cards_fingerprint_are_compared(tmp_path: Path) -> None:
    expected = read_card(tmp_path, CARD).fingerprint
    reported = {"cpu": "Cortex-A72", "cores": 4, "kernel": "6.1.0", "memory_bytes": 4_000_000_000, "libc": "new"}
    assert device.list_fingerprint_changes(expected, reported) == []
    assert device.list_fingerprint_changes(expected, {**reported, "kernel": "6.6.0"}) == ["kernel: 6.1.0 → 6.6.0"]
    assert device.list_fingerprint_changes(expected, {}) == [
        "cpu: Cortex-A72 → None",
        "cores: 4 → None",
        "memory_bytes: 4000000000 → None",
        "kernel: 6.1.0 → None",
    ]
    assert device.list_fingerprint_changes(None, reported) == []
