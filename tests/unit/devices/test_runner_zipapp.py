"""The runner's zipapp: reproducible, named by its content, and independent of the host's packages."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import grimp
import numpy as np
import pytest

from edgeproof.core import directories, plugins
from edgeproof.core.errors import UnknownNameError
from edgeproof.devices import imports, runner_zipapp

BLOCKED = (
    "torch", "hydra", "omegaconf", "dvc", "yaml", "pydantic", "scipy", "matplotlib", "rich", "safetensors", "tensorflow"
)  # fmt: skip


def test_the_runner_has_the_same_bytes_wherever_it_is_packed(tmp_path: Path) -> None:
    first, second = runner_zipapp.pack("null", tmp_path / "a"), runner_zipapp.pack("null", tmp_path / "b")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert runner_zipapp.pack("null", tmp_path / "a").read_bytes() == second.read_bytes()


def test_several_sessions_that_pack_the_runner_at_once_get_one_whole_file(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as executor:
        paths = set(executor.map(runner_zipapp.pack, ["null"] * 12, [tmp_path / "runners"] * 12))
    assert list((tmp_path / "runners").iterdir()) == list(paths)
    with zipfile.ZipFile(paths.pop()) as archive:
        assert archive.testzip() is None


def test_the_runner_holds_the_devices_modules_and_one_runtime(tmp_path: Path) -> None:
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


def test_runners_with_different_content_have_different_names(plugin_root: Path, tmp_path: Path) -> None:
    names = set()
    for source in ("A = 1\n", "A = 2\n", "A = 1\n\n"):
        (plugin_root / "runtimes" / "abacus.py").write_text(source)
        names.add(runner_zipapp.pack("abacus", tmp_path).name)
    names.add(runner_zipapp.pack("null", tmp_path).name)
    assert len(names) == 4


def test_an_unknown_runtime_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown runtime 'nul'\. Did you mean 'null'\?"):
        runner_zipapp.pack("nul", tmp_path)


def run_in_the_archive(runner: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Run code that sees the archive's edgeproof first and can import none of the host's packages."""
    script = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError("blocked: " + name)

# An editable installation would provide the modules that the archive lacks.
sys.meta_path[:] = [Blocker(), *(finder for finder in sys.meta_path if "editable" not in repr(finder).lower())]
sys.path.insert(0, {str(runner)!r})
{body}
"""
    return subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)


def test_the_runner_imports_no_package_of_the_host(tmp_path: Path) -> None:
    body = """
import edgeproof.runner.__main__ as main
import edgeproof.runner.instruction_count, edgeproof.runner.loadgen_job
from edgeproof.core import plugins
plugins.load("runtimes", "null")
print(main.__file__)
own = set(sys.stdlib_module_names) | {"edgeproof", "numpy", "sitecustomize"}  # the last is Debian's
print(sorted({name.partition(".")[0] for name in sys.modules if hasattr(sys.modules[name], "__file__")} - own))
"""
    runner = runner_zipapp.pack("null", tmp_path)
    done = run_in_the_archive(runner, body)
    assert done.returncode == 0, done.stderr
    file, others = done.stdout.splitlines()
    assert file.startswith(str(runner))
    foreign = {name for name in eval(others) if not name.startswith(("_", "__editable__"))}
    assert foreign == set()


def test_host_packages_cannot_be_imported_in_these_tests(tmp_path: Path) -> None:
    done = run_in_the_archive(runner_zipapp.pack("null", tmp_path), "import edgeproof.config")
    assert done.returncode == 1
    done = run_in_the_archive(runner_zipapp.pack("null", tmp_path), "import yaml")
    assert "blocked: yaml" in done.stderr


def test_the_archive_lists_only_its_own_runtime(tmp_path: Path) -> None:
    body = "from edgeproof.core import plugins; print(plugins.list_names('runtimes'))"
    done = run_in_the_archive(runner_zipapp.pack("null", tmp_path), body)
    assert done.stdout.strip() == "['null']"


# --- what ships is what is imported ----------------------------------------------------------------------------------

RUNTIMES = plugins.list_names("runtimes")


def list_archive_modules(runtime: str) -> set[str]:
    root = f"edgeproof.runtimes.{runtime}"
    return set(
        imports.find_modules(
            {
                "edgeproof.runner.__main__": imports.PACKAGE / "runner/__main__.py",
                root: plugins.find_source("runtimes", runtime),
            }
        )
    )


@pytest.fixture(scope="module")
def import_graph() -> grimp.ImportGraph:
    return grimp.build_graph("edgeproof", cache_dir=None)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_runner_ships_the_modules_of_the_import_graph(import_graph: grimp.ImportGraph, runtime: str) -> None:
    """Compare with grimp. Of its graph, only packages that run on a device are followed from a runtime."""
    needed = {"edgeproof.runner.__main__", f"edgeproof.runtimes.{runtime}"}
    waiting = list(needed)
    while waiting:
        for module in import_graph.find_modules_directly_imported_by(waiting.pop()):
            if module.split(".")[1] in imports.DEVICE_PACKAGES and module not in needed:
                needed.add(module)
                waiting.append(module)
    packages = {name.rsplit(".", depth)[0] for name in needed for depth in (1, 2)} - needed
    assert list_archive_modules(runtime) == needed | {name for name in packages if name.startswith("edgeproof")}


def write_job(directory: Path) -> None:
    artifact = directory / "artifact"
    artifact.mkdir(parents=True)
    directories.write_meta(artifact, {"output_shape": [1, 3]})
    np.save(directory / "samples.npy", np.zeros((12, 1, 2, 2), np.float32))
    job = {
        "runtime": "null", "artifact": "artifact", "samples": "samples.npy", "threads": 1, "mode": "PerformanceOnly",
        "scenario": "SingleStream", "settings": {"min_duration_ms": 5, "min_query_count": 100}, "warm_up_s": 0.1,
        "packages": {},
    }  # fmt: skip
    partner = {"against": "artifact", "against_samples": "samples.npy", "order_seed": 0, "duration_ms": 5}
    for mode, more in (("PerformanceOnly", {}), ("Profile", {}), ("InTurns", partner)):
        (directory / mode).mkdir()
        paths = {"artifact": "../artifact", "samples": "../samples.npy"}
        more = more and {**more, "against": "../artifact", "against_samples": "../samples.npy"}
        (directory / mode / "job.json").write_text(json.dumps({**job, **paths, **more, "mode": mode}))


ENTRIES = {
    "--watch": ["telemetry.csv", "0.2", ""],
    "--describe": ["null", ""],
    "--count": ["PerformanceOnly", "10"],
    "PerformanceOnly": ["result"],
    "Profile": ["result"],
    "InTurns": ["result"],
}


def test_the_entries_of_the_runner_import_every_module_that_ships_and_no_other(tmp_path: Path) -> None:
    write_job(tmp_path)
    runner = runner_zipapp.pack("null", tmp_path)
    imported = set()
    for entry, arguments in ENTRIES.items():
        body = f"""
import json, os
os.chdir({str(tmp_path)!r})
sys.argv = [{str(runner)!r}, {entry!r}, *{arguments!r}]
from edgeproof.runner import __main__ as main
main.main()
names = [name for name in sys.modules if name.partition(".")[0] == "edgeproof"]
print("\\n" + json.dumps([names, [sys.modules[name].__file__ for name in names]]), flush=True)
os._exit(0)
"""
        done = run_in_the_archive(runner, body)
        assert done.returncode == 0, done.stderr
        names, files = json.loads(done.stdout.splitlines()[-1])
        assert all(file.startswith(str(runner)) for file in files)
        imported |= set(names)
        if arguments == ["result"]:
            result = json.loads((tmp_path / "result" / "result.json").read_text())
            assert result["status"] in ("done", "unprofiled", "compared"), result
    assert imported == list_archive_modules("null")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that runners are packed from."""
    copy = tmp_path / "copy" / "edgeproof"
    shutil.copytree(imports.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(imports, "PACKAGE", copy)
    return copy


@pytest.mark.parametrize(
    ("module", "ships"),
    [
        ("core/errors.py", True),
        ("core/job.py", True),
        ("core/__init__.py", True),
        ("runner/warmup.py", True),
        ("core/ed25519.py", False),
        ("core/signatures.py", False),
        ("runtimes/onnx.py", False),
        ("bench/session.py", False),
    ],
)
def test_a_comment_renames_the_runner_only_in_a_module_that_the_runner_imports(
    package: Path, tmp_path: Path, module: str, ships: bool
) -> None:
    before = runner_zipapp.pack("null", tmp_path).name
    path = package / module
    path.write_text(path.read_text() + "\n# A comment.\n")
    assert (runner_zipapp.pack("null", tmp_path).name != before) is ships


def test_imports_of_host_packages_inside_functions_are_not_followed(package: Path, tmp_path: Path) -> None:
    (package / "core" / "lazy.py").write_text("")
    runtime = tmp_path / "abacus.py"
    runtime.write_text(
        "def export():\n    from edgeproof.models import qat\n\n\ndef profile():\n    from edgeproof.core import lazy\n"
    )
    modules = imports.find_modules({"edgeproof.runtimes.abacus": runtime})
    assert set(modules) == {
        "edgeproof", "edgeproof.runtimes", "edgeproof.runtimes.abacus", "edgeproof.core", "edgeproof.core.lazy"
    }  # fmt: skip


def test_a_task_ships_only_where_its_code_is_needed(tmp_path: Path) -> None:
    without, with_task = runner_zipapp.pack("null", tmp_path), runner_zipapp.pack("null", tmp_path, "digits")
    assert without.name != with_task.name
    with zipfile.ZipFile(without) as archive:
        assert not [name for name in archive.namelist() if name.startswith("edgeproof/tasks")]
    with zipfile.ZipFile(with_task) as archive:
        assert {"edgeproof/tasks/__init__.py", "edgeproof/tasks/digits.py"} <= set(archive.namelist())
    with pytest.raises(UnknownNameError, match="unknown task 'digit'"):
        runner_zipapp.pack("null", tmp_path, "digit")
