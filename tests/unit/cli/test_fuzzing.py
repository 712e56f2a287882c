"""Malformed inputs end with a message and an exit code; the fuzzer notices every other ending."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import fuzz_inputs
from tests.fuzz_inputs import CRASHED, Ending
from tests.support.fuzz_cases import Case
from tests.support.project import ROOT

pytestmark = pytest.mark.end_to_end

# Keras and torch take too long to start for a unit test. 'python -m tests.fuzz_inputs' runs them too.
FAST_KINDS = "study,card,params,record,table,session,bundle,query,submission,words,onnx,npz"


def test_sixty_malformed_inputs_end_well() -> None:
    # A busy machine needs more than the usual limit of one input.
    options = ["--count", "60", "--seed", "7", "--limit-s", "60", "--kinds", FAST_KINDS]
    command = [sys.executable, "-m", "tests.fuzz_inputs", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("60 inputs, 0 failure(s)\n")


@pytest.mark.parametrize(
    ("code", "must_fail", "failure"),
    [
        ("print('fine')", False, ""),
        ("raise SystemExit('error: no such file')", True, ""),
        ("1 / 0", False, "traceback"),
        ("import os; os.kill(os.getpid(), 11)", False, "crash by signal 11"),
        ("import time; time.sleep(60)", False, "hang"),
        ("print('all good')", True, "false success"),
        ("raise SystemExit(2)", True, "no message"),
        ("print('x'); raise SystemExit(9)", True, "exit code 9"),
        ("print('\\x1b[31mred')", False, "control characters"),
        ("print('error'); raise SystemExit(1)", True, ""),
    ],
)
def test_every_bad_ending_of_a_command_is_noticed(code: str, must_fail: bool, failure: str, tmp_path: Path) -> None:
    case = Case([], tmp_path, must_fail, program=(sys.executable, "-S", "-c", code))
    assert fuzz_inputs.find_failure(case, fuzz_inputs.run_case(case, limit_s=3.0)) == failure


def test_an_unexpected_exception_of_the_command_line_is_noticed() -> None:
    ending = Ending(CRASHED, "", "KeyError", 1.0)
    assert fuzz_inputs.find_failure(Case([], Path()), ending) == "traceback"
