"""Captured output: of Python and of native code, in order, with both streams restored."""

from __future__ import annotations

import ctypes
import os

import pytest

from edgeproof.core.captured_output import capture_output


def test_what_python_and_c_print_is_captured_and_both_streams_are_restored(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(1, b"before\n")
    with capture_output() as read_output:
        ctypes.CDLL(None).dprintf(1, b"one\n")
        ctypes.CDLL(None).dprintf(2, b"two\n")
        assert read_output() == "one\ntwo\n"
        os.write(1, b"three\n")
        assert read_output() == "one\ntwo\nthree\n"
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("before\nafter\n", "")


def test_bytes_that_are_no_text_are_replaced() -> None:
    with capture_output() as read_output:
        os.write(1, b"\xff!")
        assert read_output() == "\ufffd!"


def test_the_streams_are_restored_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), capture_output():
        _ = 1 / 0
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"
