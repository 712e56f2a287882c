"""What the server believes of a device: its answers, and that it can train."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeproof.core.errors import ConfigError, DeviceError, UnknownNameError
from edgeproof.devices.clients import job_files, job_template, program, readiness
from edgeproof.devices.clients.client_device import ClientDevice, read_result
from edgeproof.devices.clients.job_template import JobTemplate
from edgeproof.federated.client import ClientJob
from edgeproof.federated.messages import Update, encode_update, encode_weights
from edgeproof.federated.rounds import make_job
from edgeproof.federated.settings import Compression, Settings
from edgeproof.federated.weights import Layout
from tests.support.device_federations import make_device_federation, write_card, write_interpreter

SAMPLES = 10


@pytest.fixture(autouse=True)
def work_in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)


class Case:
    """A client's job, and the answer to it that a test writes."""

    def __init__(self, tmp_path: Path, compression: Compression) -> None:
        federation = make_device_federation(compression=compression)
        self.settings: Settings = federation.settings
        self.layout = Layout.read(federation.module)
        message = encode_weights(self.layout.extract(federation.module))
        self.job: ClientJob = make_job(federation, 0, 1, message)
        self.plan: JobTemplate = job_template.make_job_template(federation.module, federation.task, tmp_path)
        self.folder = tmp_path / "result"
        self.folder.mkdir()

    def encode(self, value: float = 0.5, samples: int = SAMPLES, compression: Compression | None = None) -> bytes:
        difference = np.full(self.layout.parameter_count, value, np.float32)
        statistics = np.zeros(self.layout.statistic_count, np.float32)
        return encode_update(
            Update(difference, statistics, samples), compression or self.settings.compression, self.layout
        )

    def write(self, update: bytes, residual: bytes | None = None) -> None:
        (self.folder / "update.bin").write_bytes(update)
        if residual is not None:
            (self.folder / "residual.bin").write_bytes(residual)

    def read(self) -> object:
        return read_result(self.folder, self.plan, self.job, self.settings)


@pytest.fixture
def plain(tmp_path: Path) -> Case:
    return Case(tmp_path, Compression("none"))


@pytest.fixture
def top_k(tmp_path: Path) -> Case:
    return Case(tmp_path, Compression("top_k", 0.1))


def test_a_well_formed_answer_is_taken_as_it_is(plain: Case) -> None:
    plain.write(plain.encode())
    outcome = read_result(plain.folder, plain.plan, plain.job, plain.settings)
    assert (outcome.result.message, outcome.result.residual, outcome.is_finite) == (plain.encode(), None, True)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_update_that_is_not_finite_is_marked(plain: Case, value: float) -> None:
    plain.write(plain.encode(value))
    assert not read_result(plain.folder, plain.plan, plain.job, plain.settings).is_finite


def test_a_truncated_or_longer_update_is_refused(plain: Case) -> None:
    for update in (plain.encode()[:-1], plain.encode()[:10], b"", plain.encode() + b"x"):
        plain.write(update)
        with pytest.raises(DeviceError, match="its update is unusable"):
            plain.read()


def test_an_update_of_another_shape_is_refused(plain: Case) -> None:
    other = Update(np.zeros(7, np.float32), np.zeros(0, np.float32), SAMPLES)
    plain.write(encode_update(other, Compression("none"), plain.layout))
    with pytest.raises(DeviceError, match="7 parameters and 0 statistics"):
        plain.read()


def test_a_false_number_of_samples_is_refused_because_it_is_a_weight(plain: Case) -> None:
    plain.write(plain.encode(samples=1_000_000))
    with pytest.raises(DeviceError, match="from 1000000 samples"):
        plain.read()


def test_another_encoding_than_the_ordered_one_is_refused(plain: Case) -> None:
    plain.write(plain.encode(compression=Compression("int8")))
    with pytest.raises(DeviceError, match="of another kind"):
        plain.read()


def test_more_bytes_than_any_update_has_are_not_read(plain: Case) -> None:
    plain.write(b"\0" * (plain.plan.max_update_bytes + 1))
    with pytest.raises(DeviceError, match=r"update\.bin has more than"):
        plain.read()


def test_a_missing_update_and_a_link_to_another_file_are_refused(plain: Case, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"left no update\.bin"):
        plain.read()
    (tmp_path / "secret").write_bytes(plain.encode())
    (plain.folder / "update.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(DeviceError, match=r"left no update\.bin"):
        plain.read()


def test_the_number_of_entries_that_top_k_keeps_is_checked(top_k: Case) -> None:
    top_k.write(top_k.encode(compression=Compression("top_k", 0.5)))
    with pytest.raises(DeviceError, match="kept entries, and not"):
        top_k.read()


def test_a_residual_must_have_the_shape_of_the_update_and_be_finite(top_k: Case) -> None:
    count = top_k.layout.parameter_count
    top_k.write(top_k.encode())
    with pytest.raises(DeviceError, match=r"left no residual\.bin"):
        top_k.read()
    for residual in (np.zeros(count - 1, "<f4"), np.full(count, np.nan, "<f4")):
        top_k.write(top_k.encode(), residual.tobytes())
        with pytest.raises(DeviceError, match="residual has another shape, or is not finite"):
            top_k.read()
    top_k.write(top_k.encode(), np.ones(count, "<f4").tobytes())
    result = read_result(top_k.folder, top_k.plan, top_k.job, top_k.settings).result
    assert result.residual is not None
    assert result.residual.tolist() == [1.0] * count


def test_a_module_that_no_network_builds_is_refused(tmp_path: Path) -> None:
    federation = make_device_federation()
    with pytest.raises(ConfigError, match="not built by a network"):
        job_template.make_job_template(federation.module, replace(federation.task, network=None), tmp_path)


def test_a_device_builds_the_module_and_the_task_of_the_server(tmp_path: Path) -> None:
    federation = make_device_federation(from_parent=True)
    description = {
        "schema": 1, "name": "digits", "kind": "arrays", "metrics": ["accuracy"], "classes": ["a"] * 10, "mirror": True,
        "inputs": [{"name": "image", "shape": [1, 8, 8], "dtype": "float32", "offset": 0.0, "divisor": 1.0}],
        "outputs": [{"name": "logits", "shape": [10], "dtype": "float32"}],
    }  # fmt: skip
    place = tmp_path / "data/digits/build"
    place.mkdir(parents=True)
    (place / "task.json").write_text(json.dumps(description))
    plan = job_template.make_job_template(federation.module, federation.task, tmp_path)
    job = make_job(federation, 0, 1, b"weights")
    contents = (job_files.pack_split(job.task.train), plan.constants)
    digests = [job_files.hash_bytes(content) for content in contents]
    for content, digest in zip(contents, digests, strict=True):
        (tmp_path / job_files.name_stored(digest)).write_bytes(content)
    spec_digest = job_files.write_job(plan.make_job_spec(job, federation.settings, *digests), job, tmp_path / "job")
    spec = job_files.read_job_spec(tmp_path / "job", spec_digest)
    assert job_files.restore_settings(spec.settings) == federation.settings
    module, task = program.build_module(spec, tmp_path), program.build_task(spec, tmp_path)
    assert Layout.read(module) == Layout.read(federation.module)
    assert {name: tensor.dtype for name, tensor in module.state_dict().items()} == {
        name: tensor.dtype for name, tensor in federation.module.state_dict().items()
    }
    assert torch.equal(task.train.inputs[0], job.task.train.inputs[0])
    assert (task.views, task.from_parent, len(task.train)) == (2, True, SAMPLES)  # mirrored, as task.json says


def test_the_program_holds_what_a_client_imports_and_no_code_of_the_server(tmp_path: Path) -> None:
    with zipfile.ZipFile(job_template.pack_program("resnet8", "digits", tmp_path)) as archive:
        names = set(archive.namelist())
    assert {"edgeproof/federated/client.py", "edgeproof/networks/resnet8.py", "edgeproof/tasks/digits.py"} <= names
    packages = {name.split("/")[1] for name in names if name.count("/") > 1}
    assert not packages & {"cli", "bench", "connection", "config", "transports", "records", "runner"}


ABSENT = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
BROKEN = "raise OSError('libgomp.so.1: cannot open shared object file')\n"
OLDER = (
    "__version__ = '1.0.0'\nclass backends:\n    class cpu:\n"
    "        get_cpu_capability = staticmethod(lambda: 'DEFAULT')\n"
)


@pytest.mark.parametrize(
    ("torch_text", "problem"),
    [
        (ABSENT, "torch is not installed"),
        (BROKEN, "torch fails: OSError: libgomp.so.1: cannot open shared object file"),
        (OLDER, f"torch is 1.0.0, and this machine has {readiness.find_version('torch')}"),
    ],
    ids=["absent", "broken", "older"],
)
def test_a_device_without_this_torch_is_named_with_the_command_that_installs_it(
    torch_text: str, problem: str, tmp_path: Path
) -> None:
    python = write_interpreter(tmp_path / "python", modules={"torch": torch_text})
    write_card("pi", python=python)
    with pytest.raises(DeviceError) as refused:
        ClientDevice("pi").prepare()
    version = readiness.find_version("torch")
    cure = f"{python} -m pip install torch=={version}"
    assert str(refused.value) == f"device 'pi' can't train clients: {problem}. Run there: {cure}"


def test_a_device_without_an_interpreter_is_named() -> None:
    write_card("pi", python="/no/python")
    with pytest.raises(DeviceError, match=r"^device 'pi' can't train clients: /no/python can't be run"):
        ClientDevice("pi").prepare()


def test_a_device_that_answers_nonsense_is_named(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho '{\"python\": 3}'\n")
    python.chmod(0o755)
    write_card("pi", python=str(python))
    with pytest.raises(DeviceError, match=r"^device 'pi' can't train clients: it does not say what it can do"):
        ClientDevice("pi").prepare()


def test_an_estimated_accelerator_and_an_unknown_device_are_refused() -> None:
    write_card("npu", npu="ethos-u55-128")
    with pytest.raises(ConfigError, match="estimated accelerator"):
        ClientDevice("npu")
    with pytest.raises(UnknownNameError, match="unknown device 'pi'"):
        ClientDevice("pi")


def test_another_kind_of_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {name: readiness.find_version(name) for name in readiness.MODULES}
    capability = torch.backends.cpu.get_cpu_capability()
    monkeypatch.setattr(readiness.platform, "machine", lambda: "x86_64")
    state = readiness.Readiness(python=[3, 12], machine="aarch64", capability="DEFAULT", versions=versions, problems={})
    assert state.list_problems() == []
    assert state.describe_difference() == f"aarch64 DEFAULT, and this machine x86_64 {capability}"
    same = state.model_copy(update={"machine": "x86_64", "capability": capability})
    assert same.describe_difference() is None


def test_an_old_python_is_named_with_the_key_of_the_card() -> None:
    state = readiness.Readiness(python=[3, 9], machine="m", capability="", versions={}, problems={})
    assert state.list_problems() == ["its Python is 3.9"]
    assert "Install Python 3.11 or newer there" in state.suggest_cure("python3")
