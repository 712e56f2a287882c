"""requirements.lock, pyproject.toml, edgeproof-device, the set-up, CI and the container agree with one another."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from edgeproof.config import packages, runtime_extras
from edgeproof.core import plugins

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
TEXT = LOCK.read_text(encoding="utf-8")
RUNTIMES_LOCK = ROOT / "requirements-runtimes.lock"
RUNTIME_EXTRAS = ("coreml", "executorch", "mnn", "ncnn", "tflm")
PYTHONS = ["3.11", "3.12", "3.13"]


def read_project(path: str) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / path).read_text(encoding="utf-8"))["project"]
    return project


def list_requirements(project: dict[str, Any], extras: tuple[str, ...]) -> list[Requirement]:
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return [Requirement(line) for line in lines]


def find_exact_version(requirement: Requirement) -> str | None:
    versions = [part.version for part in requirement.specifier if part.operator == "=="]
    return versions[0] if versions else None


@pytest.fixture(scope="module")
def write_lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_lock", ROOT / "scripts/write_lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_package_has_hashes() -> None:
    blocks = re.findall(r"^[a-z].*\n(?: .*\n)*", TEXT, re.MULTILINE)
    assert len(blocks) > 200
    for block in blocks:
        first, *hashes = block.replace("\\\n", "\n").splitlines()
        assert re.fullmatch(r"[a-z0-9-]+==[\w.!+]+( ; .+)?", first.strip()), first
        assert hashes
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64} ?", line) for line in hashes), first


def test_every_dependency_is_locked_in_a_version_that_it_allows() -> None:
    locked = packages.read_versions(LOCK)
    for requirement in list_requirements(read_project("pyproject.toml"), ("dev", "docs", "farm", "federated")):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_the_runtimes_lock_has_the_further_packages_of_every_extra_with_hashes() -> None:
    optional = read_project("pyproject.toml")["optional-dependencies"]
    extras = {runtime_extras.find_extra(name) for name in plugins.list_names("runtimes")} - {None}
    assert extras == set(optional) - {"npu", "farm", "docs", "federated", "dev"}
    assert extras == {*RUNTIME_EXTRAS, "tensorrt"}
    blocks = re.findall(r"^[a-z].*\n(?: .*\n)*", RUNTIMES_LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert all("    --hash=sha256:" in block for block in blocks)
    further = packages.read_versions(RUNTIMES_LOCK)
    assert not further.keys() & packages.read_versions(LOCK).keys()
    for extra in RUNTIME_EXTRAS:
        for requirement in map(Requirement, optional[extra]):
            if requirement.marker is None or requirement.marker.evaluate():
                assert find_exact_version(requirement) == further[canonicalize_name(requirement.name)]


def test_the_second_lock_leaves_out_the_packages_of_the_first(write_lock: ModuleType) -> None:
    first = "# a\nnumpy==2 \\\n    --hash=sha256:aa\n"
    text = write_lock.format_further(COMPILED.replace("torch==2.0", "torch-x==2.0"), first)
    assert re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE) == ["nvidia-nccl-cu13", "orjson", "torch-x"]
    assert text.startswith("# The further packages")


def test_what_locked_packages_require_is_locked_in_a_version_that_they_allow() -> None:
    locked = {**packages.read_versions(RUNTIMES_LOCK), **packages.read_versions(LOCK)}
    further = packages.read_versions(RUNTIMES_LOCK)
    missing = []
    for name, version in locked.items():
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if name in further and distribution.version != version:
            continue  # 'make setup' leaves the runtimes that are extras alone
        assert distribution.version.split("+")[0] == version, f"{name}: run 'make setup'"
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pinned = locked.get(canonicalize_name(requirement.name))
                if pinned is None or not requirement.specifier.contains(pinned, prereleases=True):
                    missing.append(f"{name} requires {line}, the lock has {pinned}")
    assert missing == []


def test_packages_whose_versions_are_parameters_are_dependencies_in_exactly_these_versions() -> None:
    exact = {
        canonicalize_name(requirement.name): find_exact_version(requirement)
        for requirement in list_requirements(read_project("pyproject.toml"), RUNTIME_EXTRAS)
    }
    definitions = [
        yaml.safe_load(path.read_text(encoding="utf-8"))
        for kind in ("methods", "runtimes")
        for path in (ROOT / "conf" / kind).glob("*.yaml")
    ]
    names = {
        name
        for definition in definitions
        for key in ("packages", "host_packages", "device_packages")
        for name in definition.get(key, ())
        if "==" not in name  # a new plugin's own pin
    }
    assert names >= {"torch", "onnxruntime", "keras", "scipy"}
    for name, version in packages.pin([*names, "numpy", "mlcommons-loadgen"], LOCK).items():
        assert exact[canonicalize_name(name)] == version


def test_the_device_distribution_has_the_locked_packages_of_each_runtime() -> None:
    project = read_project("distributions/edgeproof-device/pyproject.toml")
    assert project["version"] == read_project("pyproject.toml")["version"]
    runtimes = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))["device_packages"]
        for path in (ROOT / "conf/runtimes").glob("*.yaml")
    }
    # A new runtime may pin its packages itself, before they are in the lock.
    runtimes = {name: names for name, names in runtimes.items() if not any("==" in package for package in names)}
    optional = project["optional-dependencies"]
    # TensorRT is in no lock: see docs/runtimes.md.
    assert optional.pop("tensorrt") == read_project("pyproject.toml")["optional-dependencies"]["tensorrt"]
    assert {name for name, names in runtimes.items() if names} == set(optional)
    for extra in optional:
        exact = {
            requirement.name.lower(): find_exact_version(requirement)
            for requirement in list_requirements(project, (extra,))
        }
        assert exact == packages.pin(["numpy", "mlcommons-loadgen", *runtimes[extra]], LOCK)


def test_the_supported_pythons_are_the_same_everywhere() -> None:
    project = read_project("pyproject.toml")
    supported = SpecifierSet(project["requires-python"])
    assert [f"3.{minor}" for minor in range(9, 20) if f"3.{minor}.1" in supported] == PYTHONS
    classified = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert classified == PYTHONS
    workflow = yaml.load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    assert workflow["jobs"]["checks"]["strategy"]["matrix"]["python"] == PYTHONS
    script = (ROOT / "scripts/setup.sh").read_text(encoding="utf-8")
    assert f'VERSIONS="{" ".join(reversed(PYTHONS))}"' in script
    (base,) = re.findall(r"^FROM python:(\S+?)-", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert base in PYTHONS


def test_the_workflow_runs_what_ci_runs_and_builds_the_container() -> None:
    workflow = yaml.load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    commands = {
        job: [step["run"].partition(" PYTHON=")[0] for step in content["steps"] if "run" in step]
        for job, content in workflow["jobs"].items()
    }
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert commands["checks"] == [*re.findall(r"^make .*", script, re.MULTILINE), "make test-thorough"]
    assert commands["documentation"] == ["make setup", "make docs"]
    assert [shlex.split(command)[:2] for command in commands["container"]] == [["docker", "build"], ["docker", "run"]]


def test_the_container_runs_a_command_of_the_makefile_without_being_root() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    user = next(number for number, line in enumerate(lines) if line == "USER edgeproof")
    assert any("useradd" in line and line.endswith(" edgeproof") for line in lines[:user])
    later = lines[user + 1 :]
    assert not any(line.startswith("USER") for line in later)
    assert any(line.startswith("RUN") and line.endswith(" make setup") for line in later)
    assert later[-1] == 'CMD ["make", "repro", "STUDY=digits"]'
    assert all(f"\n{target}: " in makefile for target in ("setup", "repro"))
    assert (ROOT / "conf/study/digits.yaml").is_file()


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="needs the repository")
def test_the_containers_context_has_every_file_of_the_repository() -> None:
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    patterns = [line.removeprefix("**/") for line in patterns if line and not line.startswith("#")]
    # git's pathspecs match like .dockerignore's patterns, at the root of the project.
    listed = subprocess.run(
        ["git", "ls-files", *(f":(glob){pattern}" for name in patterns for pattern in (name, f"{name}/**"))],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert listed == [], "an image without tracked files would have a changed checkout"


COMPILED = """\
numpy==2 ; python_full_version < '3.14' and sys_platform == 'linux' \\
    --hash=sha256:aa
nvidia-nccl-cu13==1 ; python_full_version < '3.14' and sys_platform == 'linux' \\
    --hash=sha256:bb
orjson==3 ; python_full_version < '3.14' and implementation_name == 'cpython' and sys_platform == 'linux' \\
    --hash=sha256:cc
torch==2.0 ; python_full_version < '3.14' and sys_platform == 'linux' \\
    --hash=sha256:dd \\
    --hash=sha256:cpu
"""


def test_the_lock_is_written_with_markers_that_matter_and_cuda_at_its_end(write_lock: ModuleType) -> None:
    text = write_lock.format_lock(COMPILED, previous="torch==2.0 \\\n")
    names = re.findall(r"^(?:([a-z0-9-]+)==|# (CUDA))", text, re.MULTILINE)
    assert ["".join(pair) for pair in names] == ["numpy", "orjson", "torch", "CUDA", "nvidia-nccl-cu13"]
    assert "numpy==2 \\\n" in text
    assert "orjson==3 ; python_full_version < '3.14' and implementation_name" in text
    assert "torch==2.0 \\\n    --hash=sha256:cpu \\\n    --hash=sha256:dd\n#" in text
    assert write_lock.format_lock(text, previous=text) == text


def test_hashes_of_torchs_cpu_build_are_fetched_for_a_new_version(
    write_lock: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_link(name: str, digit: str) -> str:
        return f'<a href="/whl/cpu/{name}#sha256={digit * 64}">{name}</a>\n'

    page = tmp_path / "torch.html"
    page.write_text(
        write_link("torch-2.0%2Bcpu-cp312-cp312-manylinux_2_28_x86_64.whl", "1")
        + write_link("torch-2.0%2Bcpu-cp314-cp314-manylinux_2_28_x86_64.whl", "2")
        + write_link("torch-2.0%2Bcpu-cp312-cp312-win_amd64.whl", "3")
        + write_link("torch-2.0.1%2Bcpu-cp312-cp312-manylinux_2_28_x86_64.whl", "4")
    )
    monkeypatch.setattr(write_lock, "TORCH_INDEX", page.as_uri())
    text = write_lock.format_lock(COMPILED, previous="torch==1.9 \\\n")
    assert re.findall(r"sha256:(\d{64})", text) == ["1" * 64]


def test_the_committed_lock_is_as_it_is_written(write_lock: ModuleType) -> None:
    assert write_lock.format_lock(TEXT, TEXT) == TEXT
