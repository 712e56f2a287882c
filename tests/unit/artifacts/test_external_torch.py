"""torch.export's files: rebuilt programs compute the same in every runtime, and no code of a file runs."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeproof.artifacts.external import adopt, files, torch_files
from edgeproof.core import directories, plugins
from edgeproof.core.errors import ConfigError
from edgeproof.models import frameworks
from edgeproof.networks import resnet8
from tests.support.training_tasks import make_ports

pytestmark = pytest.mark.usefixtures("restore_torch_settings")
TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3, "int8-dynamic": 0.08, "int8-static": 0.12}


class ManyOperators(nn.Module):
    """Splits, concatenates, reshapes by a size that is known at run time, reads a constant, and has two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.offset = torch.tensor([0.5])
        self.last = nn.Linear(4 * 36, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one, two = self.norm(self.first(x)).split(2, dim=1)
        both = torch.cat([nn.functional.gelu(two, approximate="tanh"), one.clamp(min=0.0)], dim=1) + self.offset
        answer = self.last(both.reshape(both.shape[0], -1))
        return answer, answer.argmax(1)


def save_program(module: nn.Module, path: Path, shape: tuple[int, ...], *, dynamic: bool = False) -> Path:
    x = torch.zeros(3 if dynamic else 1, *shape)
    sizes = ({0: torch.export.Dim("batch", min=1)},) if dynamic else None
    torch.export.save(torch.export.export(module.eval(), (x,), dynamic_shapes=sizes), path)
    return path


def build_artifacts(path: Path, runtime: str, schemes: tuple[str, ...] = ("fp32",), output: str | None = None) -> Path:
    out_dir = path.parent / "built" / runtime
    (file,) = files.open_files([path])
    adopt.build_artifacts(file, runtime, schemes, data=None, output=output, out_dir=out_dir)
    return out_dir


def predict(artifact: Path, runtime: str, x: np.ndarray) -> np.ndarray:
    session = plugins.load("runtimes", runtime).Session(artifact, threads=1)
    return np.concatenate([session(x[i : i + 1])[0].copy() for i in range(len(x))])


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_rebuilt_program_computes_what_the_module_computes(tmp_path: Path, dynamic: bool) -> None:
    torch.manual_seed(0)
    module = ManyOperators().eval()
    program, interface = torch_files.load(save_program(module, tmp_path / "m.pt2", (2, 6, 6), dynamic=dynamic))
    x = torch.randn(1, 2, 6, 6)
    assert [port.shape for port in interface.inputs] == [(None if dynamic else 1, 2, 6, 6)]
    for number, expected in enumerate(module(x)):
        program.chosen = number
        assert torch.equal(program(x)[0], expected)


@pytest.mark.parametrize("runtime", ["tflite", "onnx", "openvino"])
def test_every_runtime_exports_a_program_in_its_schemes(bench_project: Path, runtime: str) -> None:
    torch.manual_seed(0)
    module = resnet8.build(*make_ports((1, 8, 8), 10), widths=(8, 16), stem_stride=1).eval()
    path = save_program(module, bench_project / "m.pt2", (1, 8, 8), dynamic=True)
    directory = build_artifacts(path, runtime, tuple(TOLERANCE))
    x = np.random.default_rng(0).standard_normal((6, 1, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    for scheme, tolerance in TOLERANCE.items():
        meta = directories.read_meta(directory / scheme)
        if runtime == "openvino" and scheme == "int8-dynamic":
            assert "CPU plugin" in meta["unsupported"]
            continue
        error = np.abs(predict(directory / scheme, runtime, x) - expected).max() / np.abs(expected).max()
        assert error <= tolerance, scheme
        facts = frameworks.compute_facts(module, make_ports((1, 8, 8), 10)[0]).to_meta()
        assert {name: meta["model"][name] for name in facts} == facts


@pytest.mark.parametrize("runtime", ["tflite", "onnx", "openvino"])
def test_a_program_that_was_not_trained_with_quantization_has_no_int8_qat(bench_project: Path, runtime: str) -> None:
    path = save_program(ManyOperators(), bench_project / "m.pt2", (2, 6, 6))
    meta = directories.read_meta(build_artifacts(path, runtime, ("int8-qat",)) / "int8-qat")
    assert meta["unsupported"] == f"int8-qat needs a model trained by the method quantize_aware for {runtime}"


def test_the_chosen_output_comes_first(bench_project: Path) -> None:
    module = ManyOperators()
    path = save_program(module, bench_project / "m.pt2", (2, 6, 6))
    x = np.random.default_rng(0).standard_normal((4, 2, 6, 6)).astype(np.float32)
    outputs = predict(build_artifacts(path, "onnx", output="argmax") / "fp32", "onnx", x)
    np.testing.assert_array_equal(outputs, module(torch.from_numpy(x))[1].numpy())


# --- files that contain code -----------------------------------------------------------------------------------------


class Touch:
    """An object that creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("touched"),)


def rewrite_members(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """Replace the content of each member by `change(name, content)`. The name is below the archive's folder."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, change(name.partition("/")[2], content))
    return path


def rewrite_graph(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    def edit(name: str, content: bytes) -> bytes:
        if name != "models/model.json":
            return content
        program = json.loads(content)
        change(program)
        return json.dumps(program).encode()

    return rewrite_members(path, edit)


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return save_program(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), tmp_path / "m.pt2", (4,))


def test_pickled_example_inputs_are_ignored(plain: Path) -> None:
    buffer = io.BytesIO()
    pickle.dump(Touch(), buffer)
    rewrite_members(plain, lambda name, content: buffer.getvalue() if "sample_inputs" in name else content)
    files.open_files([plain])[0].read_interface("onnx")
    assert not Path("touched").exists()


def test_a_pickled_weight_is_refused(plain: Path) -> None:
    def pickle_weight(name: str, content: bytes) -> bytes:
        if name.endswith("weight_0"):
            return pickle.dumps(Touch())
        return content.replace(b'"use_pickle": false', b'"use_pickle": true') if "weights_config" in name else content

    rewrite_members(plain, pickle_weight)
    with pytest.raises(ConfigError, match=r"as a pickle.*torch\.onnx\.export"):
        files.open_files([plain])[0].read_interface("onnx")
    assert not Path("touched").exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.aten.save.default",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.relu.__class__",
        "torch.ops.higher_order.cond",
        "_operator.methodcaller",
        "torch.ops.aten.no_such_thing.default",
        "print",
    ],
)
def test_a_call_of_anything_but_an_operator_on_tensors_is_refused(plain: Path, target: str) -> None:
    rewrite_graph(plain, lambda program: program["graph_module"]["graph"]["nodes"][-1].update(target=target))
    with pytest.raises(ConfigError, match="only operators of ATen on tensors are run"):
        files.open_files([plain])[0].read_interface("onnx")


def test_expressions_and_guards_are_not_evaluated(plain: Path) -> None:
    def poison(program: dict[str, Any]) -> None:
        expression = {"as_expr": {"expr_str": "__import__('pathlib').Path('touched').touch()", "hint": None}}
        program["graph_module"]["graph"]["tensor_values"]["input"]["sizes"][0] = expression
        program["guards_code"] = ["__import__('pathlib').Path('touched').touch()"]

    (file,) = files.open_files([rewrite_graph(plain, poison)])
    assert file.read_interface("onnx").inputs[0].shape == (None, 4)
    assert not Path("touched").exists()


@pytest.mark.parametrize("kind", ["as_graph", "as_custom_obj", "as_operator"])
def test_an_argument_that_is_not_data_is_refused(plain: Path, kind: str) -> None:
    def replace_argument(program: dict[str, Any]) -> None:
        program["graph_module"]["graph"]["nodes"][-1]["inputs"][0]["arg"] = {kind: {"name": "torch.os.system"}}

    with pytest.raises(ConfigError, match=f"argument of kind '{kind}'"):
        files.open_files([rewrite_graph(plain, replace_argument)])[0].read_interface("onnx")


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_truncated_file_raises_one_error(plain: Path, share: float) -> None:
    plain.write_bytes(plain.read_bytes()[: int(share * plain.stat().st_size)])
    with pytest.raises(
        ConfigError, match=r"m\.pt2 can't be read by torch: (BadZipFile|ValueError: the archive is cut off)"
    ):
        files.open_files([plain])[0].read_interface("onnx")


def test_weights_that_are_too_short_for_their_shape_raise_one_error(plain: Path) -> None:
    rewrite_members(plain, lambda name, content: content[:8] if name.endswith("weight_0") else content)
    with pytest.raises(ConfigError, match=r"m\.pt2 can't be read by torch"):
        files.open_files([plain])[0].read_interface("onnx")


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (lambda module, path: torch.jit.script(module).save(path), "is a TorchScript file, whose code is not run"),
        (lambda module, path: torch.save(module.state_dict(), path), "was written by torch.save, as pickled objects"),
    ],
)
def test_another_file_of_torch_is_refused_with_the_command_that_writes_a_program(
    tmp_path: Path, write: Callable[[torch.nn.Module, Path], None], match: str
) -> None:
    write(torch.nn.Linear(2, 2), tmp_path / "m.pt2")
    with pytest.raises(ConfigError, match=rf"m\.pt2 {match}.* Write one with torch\.export\.save\("):
        files.open_files([tmp_path / "m.pt2"])[0].read_interface("onnx")


def test_a_tensor_that_claims_more_numbers_than_its_bytes_hold_is_refused(plain: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge.pt2"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(huge, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename.endswith("model_weights_config.json"):
                config = json.loads(content)
                meta = next(iter(config["config"].values()))["tensor_meta"]
                meta["sizes"] = [{"as_int": 10**6}] * len(meta["sizes"])
                meta["strides"] = [{"as_int": 0}] * len(meta["strides"])
                content = json.dumps(config).encode()
            target.writestr(info, content)
    with pytest.raises(ConfigError, match=r"has 1,000,000,[0,]* numbers in \d+ bytes"):
        files.open_files([huge])[0].read_interface("onnx")
