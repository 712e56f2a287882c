"""Set-up chooses an interpreter, installs by hash, and continues after an interruption.

Fake programs replace Python, pip and uv.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = """\
setuptools==1 \\
    --hash=sha256:01
torch==2.0 \\
    --hash=sha256:02 \\
    --hash=sha256:03
zlib==1 \\
    --hash=sha256:04
# CUDA: needed by PyPI's build of torch only.
nvidia-cuda==1 \\
    --hash=sha256:05
"""
PROGRAMS = ("cat", "cp", "grep", "head", "mkdir", "printf", "rm", "sed", "sh", "touch", "uname")
# Answers as Python and pip do. The file beside it with the suffix .no_venv means a Python without python3-venv.
PYTHON = """\
#!/bin/sh
echo "${0##*/} $*" >> calls
case "$*" in
  *"(3, 11) <="*) case VERSION in 3.11.*|3.12.*|3.13.*) exit 0;; *) exit 1;; esac;;
  *"import ensurepip"*) [ ! -e "$0.no_venv" ];;
  *base_executable*) cat .venv/base;;
  *"%d.%d"*) echo VERSION | sed 's/[.][0-9]*$//';;
  *sys.version*) echo VERSION;;
  *importlib.metadata*) cat .venv/torch_version;;
  -V) echo "Python VERSION";;
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo "$0" > .venv/base;;
  "-m pip index "*--index-url=*pytorch.org/whl/cpu*) [ -n "${CPU_BUILDS:-}" ] && echo "versions: $CPU_BUILDS";;
  "-m pip index "*) echo "versions: 2.0, 1.9${OWN_BUILDS:-}";;
  "-m pip install "*packages.lock) cp .venv/packages.lock installed; touch "$TMPDIR/unpacked"; [ -z "${BREAK:-}" ];;
esac
"""


@dataclass
class Machine:
    """A project's directory and a PATH with chosen programs."""

    root: Path
    programs: Path

    def add_python(self, name: str, version: str, *, venv: bool = True) -> Path:
        path = self.programs / name
        path.write_text(PYTHON.replace("VERSION", version))
        path.chmod(0o755)
        if not venv:
            (self.programs / f"{name}.no_venv").touch()
        return path

    def add_broken(self, name: str) -> None:
        """Add a program that exists and does not run, as pyenv's shim of a version that is not selected."""
        (self.programs / name).write_text("#!/bin/sh\necho 'pyenv: command not found' >&2; exit 127\n")
        (self.programs / name).chmod(0o755)

    def set_up(self, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.programs), "CPU_BUILDS": "2.0+cpu, 1.9+cpu", **variables}
        return subprocess.run(
            ["sh", str(ROOT / "scripts/setup.sh")],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
        )

    @property
    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()

    @property
    def is_ready(self) -> bool:
        return (self.root / ".venv/.ready").exists()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    root, programs = tmp_path / "project", tmp_path / "programs"
    root.mkdir()
    programs.mkdir()
    (root / "requirements.lock").write_text(LOCK)
    for name in PROGRAMS:
        (programs / name).symlink_to(str(shutil.which(name)))
    return Machine(root, programs)


def test_the_newest_supported_interpreter_is_taken(machine: Machine) -> None:
    machine.add_python("python3.11", "3.11.2")
    machine.add_python("python3.12", "3.12.3")
    machine.add_python("python3.14", "3.14.0")
    machine.add_broken("python3.13")
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    assert machine.is_ready
    assert "python3.12 -m venv .venv" in machine.calls
    assert "Python 3.12.3" in done.stdout
    assert done.stderr == ""


def test_python3_is_taken_if_it_is_a_supported_version(machine: Machine) -> None:
    machine.add_python("python3", "3.13.1")
    assert machine.set_up().returncode == 0
    assert "python3 -m venv .venv" in machine.calls


def test_the_error_without_an_interpreter_names_the_packages_of_the_distributions(machine: Machine) -> None:
    machine.add_python("python3", "3.10.0")
    done = machine.set_up()
    assert done.returncode == 2
    for text in ("3.11, 3.12 or 3.13", "Ubuntu 24.04: sudo apt-get install python3.12-venv", "python3.13-venv", "uv"):
        assert text in done.stderr
    assert not (machine.root / ".venv").exists()


def test_a_python_without_its_venv_package_is_passed_over_for_one_that_has_it(machine: Machine) -> None:
    machine.add_python("python3.13", "3.13.5", venv=False)
    done = machine.set_up()
    assert done.returncode == 2
    assert "sudo apt-get install python3.13-venv" in done.stderr
    machine.add_python("python3.11", "3.11.2")
    assert machine.set_up().returncode == 0
    assert "python3.11 -m venv .venv" in machine.calls


@pytest.mark.parametrize(
    ("python", "reason"), [("python3.14", "'Python 3.14.0', but edgeproof needs"), ("python9", "python9 is not there")]
)
def test_a_named_interpreter_that_cannot_be_used_is_an_error(machine: Machine, python: str, reason: str) -> None:
    machine.add_python("python3.14", "3.14.0")
    machine.add_python("python3.12", "3.12.3")
    done = machine.set_up(PYTHON=python)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "make PYTHON=" in done.stderr


def test_every_package_is_installed_by_its_hash_and_only_needed_ones(machine: Machine) -> None:
    machine.add_python("python3.12", "3.12.3")
    assert machine.set_up().returncode == 0
    installations = [call for call in machine.calls if " pip install " in call]
    assert all("--require-hashes" in call or call.endswith(" -e .") for call in installations)
    assert (machine.root / ".venv/torch.lock").read_text() == (
        "torch==2.0+cpu \\\n    --hash=sha256:02 \\\n    --hash=sha256:03\n"
    )
    assert "nvidia" not in (machine.root / "installed").read_text()
    assert "zlib==1" in (machine.root / "installed").read_text()


@pytest.mark.parametrize("builds", ["", "1.9+cpu, 12.0+cpu"])
def test_without_a_cpu_build_the_size_is_shown_before_pypis_build_is_installed_by_hash(
    machine: Machine, builds: str
) -> None:
    machine.add_python("python3.12", "3.12.3")
    done = machine.set_up(CPU_BUILDS=builds)
    assert done.returncode == 0
    assert "4 GB" in done.stdout
    assert done.stderr == ""
    assert (machine.root / "installed").read_text() == LOCK


def test_an_index_is_asked_only_if_no_configured_source_has_the_cpu_build(machine: Machine) -> None:
    machine.add_python("python3.12", "3.12.3")
    assert machine.set_up(OWN_BUILDS=", 2.0+cpu", CPU_BUILDS="").returncode == 0
    assert not any("pytorch.org" in call for call in machine.calls)
    assert "nvidia" not in (machine.root / "installed").read_text()


@pytest.mark.parametrize(("version", "cuda"), [("2.0+cpu", False), ("2.0", True)])
def test_a_change_of_the_lock_keeps_the_installed_build_of_torch(machine: Machine, version: str, cuda: bool) -> None:
    machine.add_python("python3.12", "3.12.3")
    assert machine.set_up().returncode == 0
    (machine.root / ".venv/torch_version").write_text(version)
    (machine.root / "calls").unlink()
    done = machine.set_up()
    assert done.returncode == 0
    assert "4 GB" not in done.stdout
    assert not any("pip index" in call for call in machine.calls)
    assert ("nvidia" in (machine.root / "installed").read_text()) is cuda


def test_an_interrupted_set_up_is_not_taken_for_a_finished_one_and_starts_again(machine: Machine) -> None:
    machine.add_python("python3.12", "3.12.3")
    done = machine.set_up(BREAK="1")
    assert done.returncode == 2
    assert "'make setup' continues" in done.stderr
    assert not machine.is_ready
    (machine.root / ".venv/half_a_package").touch()
    done = machine.set_up()
    assert done.returncode == 0
    assert "was interrupted" in done.stdout
    assert machine.is_ready
    assert not (machine.root / ".venv/half_a_package").exists()
    assert not list(machine.root.rglob("unpacked"))


def test_a_finished_environment_keeps_its_python_after_a_change_of_the_lock(machine: Machine) -> None:
    machine.add_python("python3.11", "3.11.2")
    assert machine.set_up().returncode == 0
    (machine.root / ".venv/own_package").touch()
    machine.add_python("python3.13", "3.13.5")
    assert machine.set_up().returncode == 0
    assert [call for call in machine.calls if "-m venv" in call] == ["python3.11 -m venv .venv"]
    assert machine.set_up(PYTHON="python3.13").returncode == 0
    assert machine.calls[-1].startswith("python ")
    assert "python3.13 -m venv .venv" in machine.calls
    assert not (machine.root / ".venv/own_package").exists()


def test_uv_installs_where_it_is_there_and_fetches_a_python_where_none_is(machine: Machine) -> None:
    uv = machine.programs / "uv"
    fake = machine.programs.parent / "fetched"
    fake.write_text(PYTHON.replace("VERSION", "3.13.7"))
    fake.chmod(0o755)
    uv.write_text(
        '#!/bin/sh\necho "uv $*" >> calls\n'
        f'case "$1" in venv) mkdir -p .venv/bin; cp {fake} .venv/bin/python;; --version) echo "uv 0.13";; esac\n'
        'case "$*" in *--dry-run*pytorch.org*) exit 0;; *--dry-run*) exit 1;; esac\n'
    )
    uv.chmod(0o755)
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    assert machine.is_ready
    (creation,) = [call for call in machine.calls if call.startswith("uv venv")]
    assert "--python 3.13 " in creation
    installations = [call for call in machine.calls if call.startswith("uv pip install") and "--dry-run" not in call]
    assert all("--require-hashes" in call or call.endswith(" -e .") for call in installations)
    assert "--extra-index-url=https://download.pytorch.org/whl/cpu" in installations[0]
    assert not any(" pip install" in call for call in machine.calls if call.startswith("python"))


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_runs_the_script_once_and_again_after_a_change_of_the_lock(machine: Machine) -> None:
    machine.add_python("python3.12", "3.12.3")
    for name in ("make", "env", "expand"):
        (machine.programs / name).symlink_to(str(shutil.which(name)))
    shutil.copyfile(ROOT / "Makefile", machine.root / "Makefile")
    (machine.root / "scripts").mkdir()
    shutil.copyfile(ROOT / "scripts/setup.sh", machine.root / "scripts/setup.sh")
    (machine.root / "pyproject.toml").touch()

    def make() -> str:
        environment = {"PATH": str(machine.programs), "CPU_BUILDS": "2.0+cpu"}
        done = subprocess.run(["make", "setup"], cwd=machine.root, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "Created .venv" in make()
    assert "Created" not in make()
    later = (machine.root / ".venv/.ready").stat().st_mtime + 5
    os.utime(machine.root / "requirements.lock", (later, later))
    assert "Installing" in make()
