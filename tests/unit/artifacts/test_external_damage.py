"""Files that are damaged, of another kind or far too large: one clear ConfigError within seconds, and nothing hangs."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from edgeproof.artifacts.external import adopt, files, inputs
from edgeproof.core.artifacts import TensorSpec
from edgeproof.core.errors import ConfigError
from tests.support import onnx_cases, tflite_files
from tests.support.external_files import FEATURES, write_openvino
from tests.support.external_project import run_bench
from tests.support.project import ROOT

SUFFIXES = (".onnx", ".xml", ".tflite", ".keras", ".h5", ".pt2")
LIMIT_S = 5.0  # messages come at once; this allows for a busy machine


@contextmanager
def expect_refusal_at_once(match: str) -> Iterator[None]:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=match) as refusal:
        yield
    assert time.monotonic() - started < LIMIT_S
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 700


# --- files that are no regular files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_is_refused_without_reading_it(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"m{suffix}")
    with expect_refusal_at_once("is a FIFO, a socket or a device file, and a regular file is needed"):
        files.open_files([tmp_path / f"m{suffix}"])


def test_a_device_file_and_a_link_to_one_are_refused_without_reading_them(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").symlink_to("/dev/zero")
    for path in (Path("/dev/zero"), tmp_path / "m.onnx"):
        with expect_refusal_at_once("a device file, and a regular file is needed"):
            files.open_files([path])


def test_a_pipe_beside_a_model_is_refused_without_reading_it(tmp_path: Path) -> None:
    write_openvino(tmp_path / "m.xml").with_suffix(".bin").unlink()
    onnx_cases.write_external_weights(tmp_path / "m.onnx", "initializer", "w.data")
    (tmp_path / "w.data").unlink()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").write_bytes(b"")
    for name in ("m.bin", "w.data", "saved/weights"):
        os.mkfifo(tmp_path / name)
    for name, runtime in (("m.xml", "openvino"), ("m.onnx", "openvino"), ("m.onnx", "onnx"), ("saved", "tflite")):
        with expect_refusal_at_once("is a FIFO"):
            file = files.open_files([tmp_path / name])[0]
            file.read_interface(runtime)
            file.export(runtime, "as-is", (np.zeros((1, 4)),), shapes=[(1, 4)], output=0, out_dir=tmp_path)


def test_data_in_a_pipe_are_refused_without_reading_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.npz")
    for path in (tmp_path / "data.npz", Path("/dev/zero"), tmp_path):
        with expect_refusal_at_once(r"is a (FIFO|directory)"):
            inputs.read_data(path)


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").symlink_to("blob")
    with expect_refusal_at_once(r"m\.onnx does not exist. It is a link to nothing"):
        files.open_files([tmp_path / "m.onnx"])


# --- sizes -----------------------------------------------------------------------------------------------------------


def write_zeros(path: Path, name: str, size: int, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write an archive with one member of zeros. Its directory says `size`, and only a part of that is written."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(name, bytes(1000))
    content = path.read_bytes()
    place = content.index(b"PK\x01\x02") + 24  # the unpacked size in the archive's directory
    path.write_bytes(content[:place] + size.to_bytes(4, "little") + content[place + 4 :])
    return path


def test_data_that_unpack_to_gigabytes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = write_zeros(tmp_path / "data.npz", "x.npy", 2**32 - 2)
    with expect_refusal_at_once(r"data\.npz unpacks to 4,294,967,294 bytes, and at most 1,073,741,824 are"):
        inputs.read_data(path)


@pytest.mark.parametrize("suffix", [".keras", ".pt2"])
def test_a_model_that_unpacks_to_gigabytes_is_refused_before_it_is_read(tmp_path: Path, suffix: str) -> None:
    (file,) = files.open_files([write_zeros(tmp_path / f"m{suffix}", "config.json", 2**32 - 2)])
    with pytest.raises(ConfigError, match=r"unpacks to 4,294,967,294 bytes"):
        file.read_interface("tflite")


def test_a_large_archive_that_is_hardly_compressed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeproof.artifacts.external import guards

    monkeypatch.setattr(guards, "MAX_UNPACKED_BYTES", 100)
    x = np.random.default_rng(0).standard_normal((50, FEATURES)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    np.testing.assert_array_equal(inputs.read_data(tmp_path / "data.npz").arrays["x"], x)


def test_an_array_that_claims_to_be_larger_than_the_memory_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        header = str({"descr": "<f4", "fortran_order": False, "shape": (10**12, 10**5)}).encode()
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with expect_refusal_at_once(r"can't be read as an \.npz"):
        inputs.read_data(tmp_path / "data.npz")


def test_a_member_of_the_archive_that_is_no_array_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("weights.npy", b"no array")
    with expect_refusal_at_once(r"data\.npz can't be read as an \.npz \(ValueError: 'weights' is not an array\)"):
        inputs.read_data(tmp_path / "data.npz")


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_an_input_of_too_many_numbers_is_refused(
    project_root: Path, tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = onnx_cases.helper.make_node("Relu", ["x"], ["y"])
    shape = (1, 100_000, 100_000, 100_000)
    output = onnx_cases.helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    path = onnx_cases.write_graph(tmp_path / "m.onnx", [node], shape=shape, outputs=[output])
    interface = files.open_files([path])[0].read_interface(runtime)
    with expect_refusal_at_once("1,000,000,000,000,000 numbers for each inference: at most 67,108,864 can be measured"):
        inputs.infer_input_shapes(interface.inputs, None, "m.onnx")


def test_random_inputs_of_large_models_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_RANDOM_ELEMENTS", 1000)
    for size, count in ((10, 32), (90, 11), (2000, 1)):
        spec = TensorSpec("x", (1, size), "float32")
        (samples,) = inputs.prepare_samples([spec], [(1, size)], None, "m").inputs
        assert samples.shape == (count, size)


# --- damage ----------------------------------------------------------------------------------------------------------


def write_valid(directory: Path, suffix: str) -> Path:
    """Write a valid file of a format, or of TensorFlow's and torch's formats a container that looks valid."""
    path = directory / f"m{suffix}"
    if suffix == ".onnx":
        return onnx_cases.write_linear(path)
    if suffix == ".xml":
        return write_openvino(path)
    if suffix == ".tflite":
        return tflite_files.write_open_image(path)
    if suffix == ".h5":
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(2000))
        return path
    name = "config.json" if suffix == ".keras" else "m/models/model.json"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, json.dumps({"module": "keras", "class_name": "Sequential", "graph_module": {}}))
    return path


def read_all(paths: Sequence[str]) -> None:
    """Build artifacts of files for every runtime. A ConfigError of one short line is the only exception allowed."""
    for path in map(Path, paths):
        for runtime in files.open_files([path])[0].list_runtimes():
            (file,) = files.open_files([path])
            schemes = ["fp32" if file.has_schemes else files.AS_IS]
            build = functools.partial(adopt.build_artifacts, data=None, output=None)
            reason = catch_refusal(build, file, runtime, schemes, out_dir=path.parent / "out" / runtime)
            assert "\n" not in reason
            assert len(reason) < 700


def catch_refusal(build: Callable[..., object], *arguments: object, **options: object) -> str:
    try:
        build(*arguments, **options)
    except ConfigError as error:
        return str(error)
    return ""


def write_damaged(directory: Path, suffix: str) -> list[str]:
    """Write files that are cut, noise, changed in some bytes, or of another format, and return their paths."""
    content = write_valid(directory, suffix).read_bytes()
    generator = np.random.default_rng(0)
    variants = {f"cut{n}": content[: len(content) * n // 8] for n in range(8)}
    variants |= {f"noise{n}": generator.bytes(400) for n in range(3)}
    for number in range(6):
        changed = bytearray(content)
        for place in generator.integers(0, len(content), 1 + number):
            changed[place] ^= int(generator.integers(1, 256))
        variants[f"changed{number}"] = bytes(changed)
    for other in (".onnx", ".tflite", ".keras"):
        if other != suffix:
            variants[f"foreign_{other[1:]}"] = write_valid(directory, other).read_bytes()
    for name, variant in variants.items():
        (directory / f"{name}{suffix}").write_bytes(variant)
        if suffix == ".xml":
            (directory / f"{name}.bin").write_bytes((directory / "m.bin").read_bytes())
    return [str(directory / f"{name}{suffix}") for name in variants]


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".pt2"])
def test_damaged_models_are_refused_or_measured_but_never_raise_another_error(
    project_root: Path, tmp_path: Path, suffix: str
) -> None:
    read_all(write_damaged(tmp_path, suffix))


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".tflite"])
def test_damaged_files_of_engines_neither_crash_nor_hang(tmp_path: Path, suffix: str) -> None:
    script = "import sys; from tests.unit.artifacts.test_external_damage import read_all; read_all(sys.argv[1:])"
    argv = [sys.executable, "-c", script, *write_damaged(tmp_path, suffix)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", ["m.onnx", "m.tflite", "m.pt2"])
def test_the_command_ends_with_one_line_and_exit_code_2(bench_project: Path, name: str) -> None:
    (bench_project / name).write_bytes(b"no model at all")
    argv = [sys.executable, "-m", "edgeproof.cli", "bench", name, "--preset", "quick"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        argv, cwd=bench_project, capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {name} can't be read by ")
    assert done.stderr.count("\n") == 1


def test_a_data_file_of_another_kind_is_refused_by_the_command(bench_project: Path) -> None:
    onnx_cases.write_linear(bench_project / "m.onnx")
    (bench_project / "data.npz").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ConfigError, match=r"data\.npz is a Git LFS pointer"):
        run_bench("m.onnx", "--data", "data.npz")
