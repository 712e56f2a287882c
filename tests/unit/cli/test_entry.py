"""The end of a command: its exit code, one message instead of a traceback, no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproof.entry import BROKEN_PIPE
from tests.support.project import ROOT

CLEAN_ENVIRONMENT = {
    key: value for key, value in os.environ.items() if not key.startswith(("OPENVINO", "NNCF", "DVC", "TF_", "HF_"))
}


def run_entry(body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run entry.run over a main() with this body in a process of its own."""
    script = (
        f"from edgeproof import entry\nfrom edgeproof.core import errors\ndef main():\n    {body}\nentry.run(main)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**CLEAN_ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("body", "code"), [("return None", 0), ("return 0", 0), ("return 7", 7)])
def test_a_command_exits_with_the_code_that_it_returns(body: str, code: int) -> None:
    done = run_entry(body)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize("kind", ["EdgeproofError", "ConfigError", "DeviceError"])
def test_an_edgeproof_error_gives_one_message_and_exit_code_two(kind: str) -> None:
    done = run_entry(f"raise errors.{kind}('the disk is made of cheese')")
    assert (done.returncode, done.stderr) == (2, "error: the disk is made of cheese\n")


def test_an_os_error_gives_one_message_and_exit_code_two() -> None:
    done = run_entry("open('/nowhere/at/all')")
    assert done.returncode == 2
    assert done.stderr.startswith("error: [Errno 2] No such file or directory: '/nowhere/at/all'")
    assert "Traceback" not in done.stderr


def test_an_interruption_gives_one_line_and_the_shells_exit_code() -> None:
    done = run_entry("raise KeyboardInterrupt")
    assert done.returncode == 130
    assert len(done.stderr.splitlines()) == 1
    assert "interrupted" in done.stderr


def test_a_bug_shows_its_traceback() -> None:
    done = run_entry("return 1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_output_before_an_error_is_not_lost() -> None:
    assert run_entry("print('almost'); raise errors.DataError('gone')").stdout == "almost\n"


def test_telemetry_is_off_unless_the_user_turns_it_on() -> None:
    body = "import os; print(os.environ['DVC_NO_ANALYTICS'], os.environ['OPENVINO_TELEMETRY_DISABLE'])"
    assert run_entry(body).stdout == "1 1\n"
    assert run_entry(body, DVC_NO_ANALYTICS="0").stdout == "0 1\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a process when its parent dies")
def test_a_stage_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    # The stage keeps a pipe open while it runs, so reading the pipe to its end waits for the end of the stage.
    pipe = tmp_path / "alive"
    os.mkfifo(pipe)
    stage = f"import signal\nfrom edgeproof import entry\nfile = open({str(pipe)!r}, 'w')\ndef main():\n"
    stage += "    print('up', file=file, flush=True)\n    signal.pause()\nentry.run(main)\n"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {stage!r}])\n"
    with subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT) as process, pipe.open() as alive:
        assert alive.readline() == "up\n"
        process.send_signal(signal.SIGKILL)
        assert alive.read() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a process when its parent dies")
def test_a_terminated_command_ends_the_processes_that_it_started(tmp_path: Path) -> None:
    pipe = tmp_path / "alive"
    os.mkfifo(pipe)
    child = f"import signal; file = open({str(pipe)!r}, 'w'); print('up', file=file, flush=True); signal.pause()"
    body = (
        "import subprocess, sys\nfrom edgeproof import entry\ndef main():\n"
        f"    with subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True) as started:\n"
        "        try:\n            started.wait()\n        finally:\n            started.kill()\n"
        "entry.run(main)\n"
    )
    with subprocess.Popen([sys.executable, "-c", body], cwd=ROOT) as process, pipe.open() as alive:
        assert alive.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
        assert alive.read() == ""


def test_a_closed_stdout_is_not_reported_as_an_error() -> None:
    body = "from edgeproof import entry\nentry.run(lambda: [print('line ' * 100) for _ in range(10_000)] and None)"
    with subprocess.Popen(
        [sys.executable, "-c", body], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"line")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == BROKEN_PIPE


# --- interruptions during the imports --------------------------------------------------------------------------------

# Sends SIGINT to itself at the start of the n-th import after the program's own module.
INTERRUPT = """\
import os, signal, sys
class Finder:
    count = 0
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        cls.count += 1
        if cls.count == {number}:
            os.kill(os.getpid(), signal.SIGINT)
{program}
"""
PROGRAMS = {
    "edgeproof": "sys.argv[1:] = ['list']\nfrom edgeproof.cli import main\n"
    "sys.meta_path.insert(0, Finder)\nmain.main()",
    "edgeproof-sweep": "sys.argv[1:] = ['--help']\nfrom edgeproof.cli import main\n"
    "sys.meta_path.insert(0, Finder)\nmain.run_sweep()",
    "a stage": "from stages import report\nsys.meta_path.insert(0, Finder)\nreport.entry.run(report.main)",
}


@pytest.mark.parametrize("number", [1, 2, 5, 20, 60, 150])
@pytest.mark.parametrize("program", PROGRAMS)
def test_an_interruption_during_the_imports_gives_one_line(program: str, number: int) -> None:
    code = INTERRUPT.format(number=number, program=PROGRAMS[program])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == "interrupted. Finished work is kept: run the same command again to continue.\n"
    assert done.returncode == 130


@pytest.mark.parametrize(
    "module", ["edgeproof.cli.main", *(f"stages.{path.stem}" for path in ROOT.glob("stages/[!_]*"))]
)
def test_a_program_imports_only_light_modules_before_it_handles_interruptions(module: str) -> None:
    code = f"import sys; before = set(sys.modules); import {module}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.startswith(("edgeproof", "stages"))}
    assert ours <= {
        *("edgeproof", "edgeproof.cli", "edgeproof.core", "edgeproof.core.errors", "edgeproof.core.orphans"),
        *("edgeproof.core.processes", "edgeproof.entry", "stages", module),
    }
    assert {name.partition(".")[0] for name in done.stdout.split()} - {"edgeproof", "stages"} <= sys.stdlib_module_names


def test_an_interruption_that_a_library_turns_into_another_error_still_gives_one_line() -> None:
    body = (
        "import os, signal\n    try:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n        raise ImportError('broken') from None"
    )
    done = run_entry(body)
    assert (done.returncode, len(done.stderr.splitlines())) == (130, 1)


def test_an_interruption_in_a_destructor_is_not_lost() -> None:
    body = (
        "import os, signal, time\n    class Last:\n        def __del__(self):\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n    last = Last()\n    del last\n    time.sleep(20)"
    )
    done = run_entry(body)
    assert (done.returncode, len(done.stderr.splitlines())) == (130, 1)


def test_a_command_that_was_started_with_interruptions_ignored_ignores_them() -> None:
    code = "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nfrom edgeproof import entry\n"
    code += "def main():\n    os.kill(os.getpid(), signal.SIGINT)\n    return 7\nentry.run(main)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (7, "")


ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


def test_letters_that_the_terminal_lacks_are_written_as_similar_ones() -> None:
    text = "p50, µs: 1 – 2 × 3… ◆ Δ 10 °C \u6f22 \udcff"
    done = run_entry(f"import sys; print({text!a}); print({text!a}, file=sys.stderr)", **ASCII_LOCALE)
    assert (done.returncode, done.stdout) == (0, "p50, us: 1 - 2 x 3... * delta 10 deg C ? ?\n")
    assert done.stderr == done.stdout


def test_an_error_message_with_any_letters_is_printed_in_an_ascii_locale() -> None:
    done = run_entry(f"raise errors.ConfigError({'модель→x'!a})", **ASCII_LOCALE)
    assert (done.returncode, done.stderr) == (2, "error: ??????->x\n")


def test_a_utf8_terminal_gets_every_letter() -> None:
    done = run_entry("print('µs – 漢')", PYTHONIOENCODING="utf-8")
    assert done.stdout == "µs – 漢\n"


@pytest.mark.parametrize(
    "argv",
    [
        ["report", "--table", "results/tables/table.json", "--format", "markdown"],
        ["list"],
        ["devices", "list"],
        ["bench", "--help"],
        ["compare", "ünknown", "µ"],
    ],
    ids=" ".join,
)
def test_no_command_fails_for_the_encoding_of_its_output(argv: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from edgeproof.cli import main; main.main()", *argv],
        cwd=ROOT,
        env={**CLEAN_ENVIRONMENT, **ASCII_LOCALE},
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    assert done.returncode == (2 if argv[0] == "compare" else 0)
