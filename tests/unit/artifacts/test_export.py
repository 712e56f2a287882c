"""Export of models: each scheme gives an artifact or a reason, and a failure shows the converter's output."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeproof.artifacts import child_process, isolation
from edgeproof.artifacts import export as artifacts_export
from edgeproof.config.params import ExportParams
from edgeproof.core import directories
from edgeproof.core.artifacts import read_inputs, read_outputs
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.core.ports import Port
from edgeproof.data import preparation
from edgeproof.models import model_files
from tests.support import tiny_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")

NETWORK = """
from torch import nn
def build(inputs, outputs): return nn.Sequential(nn.Flatten(), nn.Linear(8, outputs[0].size, bias=False))
"""


@pytest.fixture
def project(plugin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with a trained model 'm' of the tiny task."""
    monkeypatch.chdir(tmp_path)
    tiny_task.write_plugins(plugin_root)
    (plugin_root / "networks" / "flat.py").write_text(NETWORK)
    tiny_task.write_data(Path("data"))
    save_model("m", tiny_task.matrix())
    return tmp_path


def save_model(name: str, matrix: np.ndarray, seed: int = 0) -> None:
    spec = model_files.NetworkSpec(
        "flat", {}, (Port("image", tiny_task.INPUT_SHAPE),), (Port("logits", (tiny_task.CLASSES,)),)
    )
    module = spec.build()
    with torch.no_grad():
        module[1].weight.copy_(torch.from_numpy(matrix))
    unknown = ("task", "method", "options", "lineage", "validation_quality", "data_sha256")
    model_files.save(module, spec, {"name": name, "seed": seed, **dict.fromkeys(unknown)}, Path("models", name))


def export(runtime: str = "matrix", schemes: tuple[str, ...] = ("fp32",), **changes: Any) -> Path:
    plain = {"model": "m", "runtime": runtime, "schemes": list(schemes), "seeds": [0], "threads": 1, "packages": {}}
    artifacts_export.export(ExportParams.model_validate({**plain, **changes}), "tiny")
    return Path("artifacts", runtime, "m")


def test_an_artifact_holds_the_exported_file_and_the_models_outputs_for_samples(project: Path) -> None:
    directory = export() / "fp32"
    samples, expected = np.load(directory / "samples.npy"), np.load(directory / "expected.npy")
    np.testing.assert_array_equal(np.load(directory / "matrix.npy"), tiny_task.matrix())
    np.testing.assert_allclose(expected, samples.reshape(len(samples), 8) @ tiny_task.matrix().T, rtol=1e-5, atol=1e-6)
    meta = directories.read_meta(directory)
    assert meta["lowered"] == ["matrix.npy"]
    assert meta["notes"] == ["exact"]


def test_each_further_seed_has_an_artifact_beside_the_first_one(project: Path) -> None:
    save_model("m/seed_5", -tiny_task.matrix(), seed=5)
    directory = export(seeds=[0, 5])
    assert sorted(path.name for path in directory.iterdir()) == ["fp32", "fp32.seed_5"]
    np.testing.assert_array_equal(np.load(directory / "fp32/matrix.npy"), tiny_task.matrix())
    np.testing.assert_array_equal(np.load(directory / "fp32.seed_5/matrix.npy"), -tiny_task.matrix())
    meta = directories.read_meta(directory / "fp32.seed_5")
    assert (meta["scheme"], meta["model"]["seed"]) == ("fp32", 5)


def test_the_sizes_of_an_artifact_count_its_exported_files_alone(project: Path) -> None:
    directory = export() / "fp32"
    content = (directory / "matrix.npy").read_bytes()
    meta = directories.read_meta(directory)
    assert meta["size_bytes"] == len(content)
    assert meta["gzip_bytes"] == len(gzip.compress(content, 9, mtime=0))


def test_the_meta_of_an_artifact_identifies_its_model(project: Path) -> None:
    meta = directories.read_meta(export() / "fp32")
    model = directories.read_meta(Path("models/m"))
    assert meta["model"]["sha256"] == directories.content_sha256(model)
    assert (meta["model"]["parameters"], meta["model"]["macs"]) == (24, 24)
    assert (meta["runtime"], meta["scheme"]) == ("matrix", "fp32")


def test_exporting_twice_gives_the_same_bytes(project: Path) -> None:
    first = {name: (export() / "fp32" / name).read_bytes() for name in ("meta.json", "matrix.npy", "expected.npy")}
    again = export() / "fp32"
    assert {name: (again / name).read_bytes() for name in first} == first


def test_an_unsupported_scheme_leaves_its_reason_and_no_file(project: Path) -> None:
    directory = export(schemes=("fp32", "int8-static"))
    meta = directories.read_meta(directory / "int8-static")
    assert meta["unsupported"] == "a matrix has no integers"
    assert directories.list_files(directory / "int8-static") == []
    assert "unsupported" not in directories.read_meta(directory / "fp32")


def test_every_artifact_holds_its_ports_and_the_null_runtime_writes_nothing_else(project: Path) -> None:
    ports = (Port("image", tiny_task.INPUT_SHAPE),), (Port("logits", (3,)),)
    meta = directories.read_meta(export() / "fp32")
    assert (read_inputs(meta), read_outputs(meta)) == ports
    directory = export("null", ("fp32", "fp16"))
    meta = directories.read_meta(directory / "fp32")
    assert (read_inputs(meta), read_outputs(meta)) == ports
    assert meta["size_bytes"] == 0
    assert "unsupported" in directories.read_meta(directory / "fp16")


def test_a_failing_converter_shows_its_output_and_leaves_the_old_artifact(
    project: Path, plugin_root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export()
    broken = (
        "import os\ndef export(*_):\n    os.write(1, b'from C: no such operator\\n')\n    raise ValueError('oh dear')\n"
    )
    (plugin_root / "runtimes" / "matrix2.py").write_text(broken)
    save_model("m", -tiny_task.matrix())
    with pytest.raises(EdgeproofError, match="oh dear") as caught:
        export("matrix2")
    message = str(caught.value)
    assert "exporting 'm' to matrix2 as fp32 failed: ValueError" in message
    assert "from C: no such operator" in message
    assert not Path("artifacts/matrix2").joinpath("m").exists()
    np.testing.assert_array_equal(np.load("artifacts/matrix/m/fp32/matrix.npy"), tiny_task.matrix())
    os.write(1, b"heard again\n")
    assert "heard again" in capfd.readouterr().out


def test_the_output_of_a_successful_converter_is_not_shown(
    project: Path, plugin_root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first_line = "def export(model, samples, scheme, out_dir):\n"
    noise = "    import os; os.write(1, b'NOISE'); os.write(2, b'NOISE')\n"
    noisy = tiny_task.RUNTIME.replace(first_line, first_line + noise)
    (plugin_root / "runtimes" / "noisy.py").write_text(noisy)
    export("noisy")
    captured = capfd.readouterr()
    assert "NOISE" not in captured.out + captured.err


def test_a_full_disk_is_reported_as_such(project: Path, plugin_root: Path) -> None:
    full = "import errno, os\ndef export(*_): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
    (plugin_root / "runtimes" / "full.py").write_text(full)
    with pytest.raises(EdgeproofError, match=r"could not write .*No space left"):
        export("full")
    assert not Path("artifacts/full/m").exists()


def set_value(samples: np.ndarray, chosen: slice, value: float) -> np.ndarray:
    damaged = samples.copy()
    damaged[chosen, 0, 1, 1] = value
    return damaged


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda x: set_value(x, slice(3, 4), np.nan), "1 of 17 .* NaN or infinity. The first one is number 3"),
        (lambda x: set_value(x, slice(4, None), -np.inf), "13 of 17 .* NaN or infinity. The first one is number 4"),
        (lambda x: x.astype(np.float64), r"float64 of shape \(17, 1, 2, 4\).* float32 of shape \(N, 1, 2, 4\)"),
        (lambda x: x[:, 0], r"float32 of shape \(17, 2, 4\).* \(N, 1, 2, 4\)"),
        (lambda x: x[:0], r"shape \(0, 1, 2, 4\)"),
    ],
)
def test_calibration_samples_that_no_quantizer_could_use_are_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, damage: Any, message: str
) -> None:
    (samples,) = preparation.load_calibration("tiny")
    monkeypatch.setattr(preparation, "load_calibration", lambda task: (damage(samples),))
    with pytest.raises(ConfigError, match=rf"(?s){message}.*preprocess\(\) of the task 'tiny'"):
        export()
    assert not any(path.is_file() for path in Path("artifacts").rglob("*"))


def test_another_package_version_than_the_studys_is_refused_before_the_export(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"numpy is .*composed for 0\.0\.1"):
        export(packages={"numpy": "0.0.1"})
    assert not any(path.is_file() for path in Path("artifacts").rglob("*"))


def test_an_artifact_of_an_earlier_version_has_one_input_and_one_output() -> None:
    assert read_outputs({"output_shape": [1, 3]}) == (Port("output", (3,)),)
    assert read_inputs({"input_shape": [1, 2, 4]}) == (Port("input", (2, 4)),)
    assert read_inputs({}) == read_outputs({}) == ()


# --- in a process of its own -----------------------------------------------------------------------------------------


def export_isolated(runtime: str, schemes: list[str]) -> Path:
    item = {"model": "m", "runtime": runtime, "schemes": schemes, "seeds": [0], "threads": 1, "packages": {}}
    isolation.export(ExportParams.model_validate(item), "tiny")
    return Path("artifacts", runtime, "m")


def test_a_scheme_whose_converter_crashes_is_unsupported_and_the_others_are_exported(
    project: Path, plugin_root: Path
) -> None:
    first_line = "def export(model, samples, scheme, out_dir):\n"
    crash = "    import os; (out_dir / 'half').touch(); scheme == 'fp16' and os.kill(os.getpid(), 11)\n"
    (plugin_root / "runtimes" / "fragile.py").write_text(tiny_task.RUNTIME.replace(first_line, first_line + crash))
    directory = export_isolated("fragile", ["fp32", "fp16", "int8-static"])
    assert "unsupported" not in directories.read_meta(directory / "fp32")
    reason = "the converter for fragile ended with SIGSEGV on this network"
    assert directories.read_meta(directory / "fp16")["unsupported"] == reason
    assert directories.list_files(directory / "fp16") == []
    assert directories.read_meta(directory / "int8-static")["unsupported"] == "a matrix has no integers"


def test_a_scheme_whose_converter_never_ends_is_unsupported_and_the_others_are_exported(
    project: Path, plugin_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "TIME_LIMIT_S", 3.0)
    monkeypatch.setattr(child_process, "CHECK_INTERVAL_S", 0.1)
    first_line = "def export(model, samples, scheme, out_dir):\n"
    pause = "    import time; (out_dir / 'half').touch(); scheme == 'fp16' and time.sleep(600)\n"
    (plugin_root / "runtimes" / "endless.py").write_text(tiny_task.RUNTIME.replace(first_line, first_line + pause))
    directory = export_isolated("endless", ["fp32", "fp16", "int8-static"])
    assert "unsupported" not in directories.read_meta(directory / "fp32")
    reason = "the converter for endless did not end within 0 minutes on this network"
    assert directories.read_meta(directory / "fp16")["unsupported"] == reason
    assert directories.list_files(directory / "fp16") == []
    assert directories.read_meta(directory / "int8-static")["unsupported"] == "a matrix has no integers"


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("os.kill(os.getpid(), 9)", "ended with SIGKILL, as the system does when memory runs out"),
        ("os._exit(7)", "ended with code 7"),
        ("raise ValueError('oh dear')", "exporting 'm' to broken as fp32 failed: ValueError: oh dear"),
        ("raise OSError(28, 'No space left on device')", r"could not write .*No space left"),
    ],
)
def test_another_end_of_the_process_is_an_error(project: Path, plugin_root: Path, failure: str, message: str) -> None:
    (plugin_root / "runtimes" / "broken.py").write_text(f"import os\ndef export(*_):\n    {failure}\n")
    with pytest.raises(EdgeproofError, match=message):
        export_isolated("broken", ["fp32"])
    assert not Path("artifacts/broken/m").exists()


STRIPPING = """
def strip(source, target):
    np.save(target / "matrix.npy", np.load(source / "matrix.npy"))
"""


def test_a_study_with_strip_exports_stripped_files_and_reports_both_sizes(project: Path, plugin_root: Path) -> None:
    padded = tiny_task.RUNTIME.replace(
        "    return ExportResult", '    (out_dir / "matrix.npy").open("ab").write(b"pad")\n    return ExportResult'
    )
    (plugin_root / "runtimes" / "padded.py").write_text(padded + STRIPPING)
    plain = directories.read_meta(export("padded") / "fp32")
    stripped = directories.read_meta(export("padded", strip=True) / "fp32")
    assert "unstripped_bytes" not in plain
    assert stripped["unstripped_bytes"] == plain["size_bytes"] == stripped["size_bytes"] + 3
    assert stripped["notes"] == [
        "exact",
        f"names and metadata stripped: {plain['size_bytes']} bytes before, {stripped['size_bytes']} after",
    ]


def test_params_name_strip_only_if_it_is_set() -> None:
    plain = {"model": "m", "runtime": "matrix", "schemes": ["fp32"], "seeds": [0], "threads": 1, "packages": {}}
    assert ExportParams.model_validate(plain).model_dump() == plain
    assert ExportParams.model_validate({**plain, "strip": True}).model_dump() == {**plain, "strip": True}
