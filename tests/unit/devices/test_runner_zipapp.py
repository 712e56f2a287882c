"""The runner as one file: the same bytes every time, named by its content, needing nothing of the host."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeproof.core.errors import UnknownName
from edgeproof.devices import runner_zipapp

BLOCKED = (
    "torch", "hydra", "omegaconf", "dvc", "yaml", "pydantic", "scipy", "matplotlib", "rich", "safetensors", "tensorflow"
)  # fmt: skip


def test_the_runner_is_the_same_to_the_byte_wherever_it_is_packed(tmp_path: Path) -> None:
    first, second = runner_zipapp.pack("null", tmp_path / "a"), runner_zipapp.pack("null", tmp_path / "b")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert runner_zipapp.pack("null", tmp_path / "a").read_bytes() == second.read_bytes()


def test_the_runner_holds_the_devices_half_and_one_runtime(tmp_path: Path) -> None:
    with zipfile.ZipFile(runner_zipapp.pack("null", tmp_path)) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert names == sorted(names)
    assert "__main__.py" in names
    assert [name for name in names if name.startswith("edgeproof/runtimes/")] == [
        "edgeproof/runtimes/__init__.py",
        "edgeproof/runtimes/null.py",
    ]
    assert {name.split("/")[1] for name in names if "/" in name} == {"__init__.py", "core", "runner", "runtimes"}
    assert not any("pycache" in name or name.endswith(".pyc") for name in names)


def test_another_content_has_another_name(plugin_root: Path, tmp_path: Path) -> None:
    names = set()
    for source in ("A = 1\n", "A = 2\n", "A = 1\n\n"):
        (plugin_root / "runtimes" / "abacus.py").write_text(source)
        names.add(runner_zipapp.pack("abacus", tmp_path).name)
    names.add(runner_zipapp.pack("null", tmp_path).name)
    assert len(names) == 4


def test_a_runtime_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown runtime 'nul'\. Did you mean 'null'\?"):
        runner_zipapp.pack("nul", tmp_path)


def run_in_the_archive(runner: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Run code that sees the archive's edgeproof first and can import none of the host's packages."""
    script = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, {str(runner)!r})
{body}
"""
    return subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)


def test_the_runner_imports_with_everything_of_the_host_blocked(tmp_path: Path) -> None:
    body = """
import edgeproof.runner.__main__ as main
import edgeproof.runner.counting, edgeproof.runner.job
from edgeproof.core import plugins
plugins.load("runtimes", "null")
print(main.__file__)
own = set(sys.stdlib_module_names) | {"edgeproof", "numpy"}
print(sorted({name.partition(".")[0] for name in sys.modules if hasattr(sys.modules[name], "__file__")} - own))
"""
    runner = runner_zipapp.pack("null", tmp_path)
    done = run_in_the_archive(runner, body)
    assert done.returncode == 0, done.stderr
    file, others = done.stdout.splitlines()
    assert file.startswith(str(runner))
    foreign = {name for name in eval(others) if not name.startswith(("_", "__editable__"))}
    assert foreign == set()


def test_the_blocker_blocks(tmp_path: Path) -> None:
    done = run_in_the_archive(runner_zipapp.pack("null", tmp_path), "import edgeproof.config")
    assert done.returncode == 1
    done = run_in_the_archive(runner_zipapp.pack("null", tmp_path), "import yaml")
    assert "blocked: yaml" in done.stderr


def test_the_archive_offers_no_runtime_but_its_own(tmp_path: Path) -> None:
    body = "from edgeproof.core import plugins; print(plugins.names('runtimes'))"
    done = run_in_the_archive(runner_zipapp.pack("null", tmp_path), body)
    assert done.stdout.strip() == "['null']"
