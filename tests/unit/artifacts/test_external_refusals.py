"""External files, options and data that do not fit: each is one ConfigError, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeproof.cli import main
from edgeproof.core.errors import ConfigError
from tests.support.external_files import FEATURES, make_samples, write_data, write_onnx, write_openvino
from tests.support.external_project import run_bench

Refusal = Callable[..., None]


def list_files(project: Path) -> set[Path]:
    return {path for path in project.rglob("*") if ".edgeproof" not in path.parts}


@pytest.fixture
def expect_refusal(bench_project: Path, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Run 'edgeproof bench', expect one ConfigError that matches, and check that no file was written."""

    def run(match: str, *argv: object) -> None:
        before = list_files(bench_project)
        with pytest.raises(ConfigError, match=match):
            run_bench(*argv)
        assert list_files(bench_project) == before
        assert not list(bench_project.rglob("*.part"))
        assert capsys.readouterr().out == ""

    return run


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("absent.onnx", "absent.onnx does not exist"),
        ("notes.txt", r"not a model file of a known format. Known: .*\.h5, .*\.keras, .*\.onnx, .*\.tflite, .*\.xml"),
        ("folder", "without saved_model.pb, so it is no SavedModel"),
        ("program.pt2", r"program.pt2 can't be read by torch: BadZipFile"),
    ],
)
def test_a_file_of_no_known_model_format_is_refused(
    bench_project: Path, expect_refusal: Refusal, name: str, match: str
) -> None:
    (bench_project / "notes.txt").write_text("weights?")
    (bench_project / "program.pt2").write_bytes(b"PK")
    (bench_project / "folder").mkdir()
    expect_refusal(match, name)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".bin", ".tflite"])
def test_a_truncated_file_is_refused(bench_project: Path, expect_refusal: Refusal, suffix: str, share: float) -> None:
    path = bench_project / f"m{suffix}"
    if suffix in (".xml", ".bin"):
        write_openvino(path.with_suffix(".xml"))
    elif suffix == ".onnx":
        write_onnx(path)
    else:
        path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(range(256)) * 8)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    expect_refusal(
        r"^m\.\w+ (can't be|has no input)",
        path.with_suffix(".xml" if suffix == ".bin" else suffix).name,
    )


def test_an_openvino_file_without_its_weights_is_refused(bench_project: Path, expect_refusal: Refusal) -> None:
    write_openvino(bench_project / "m.xml").with_suffix(".bin").unlink()
    expect_refusal(r"has no m\.bin beside it", "m.xml")


@pytest.mark.parametrize(
    ("file", "option", "match"),
    [
        ({"outputs": ("y", "best")}, ("--output", "z"), r"no output 'z': it has 2 outputs"),
        ({"batch": 8}, (), r"shape \(8, 4\): the first axis must be a batch of 1"),
        ({"dtype": "float64"}, (), r"takes float64: inputs may be float32"),
        ({}, ("--device", "moon"), "unknown device 'moon'"),
        ({}, ("--preset", "quik"), "unknown preset 'quik'. Did you mean 'quick'"),
        ({}, ("--schemes", "int8-static"), "exported already"),
        ({}, ("--runtimes", "tflite"), r"can be run by onnx, openvino, and not by tflite"),
        ({}, ("--runtimes", "onnx,tflite"), "no file given can be run by tflite"),
        ({}, ("--runtimes", "onx"), "unknown runtime 'onx'. Did you mean 'onnx'"),
        ({}, ("--scenarios", "offline"), "must name a SingleStream scenario"),
        ({}, ("--scenarios", "single"), "unknown scenario 'single'"),
        ({}, ("--name", "../mine"), "small letters, digits"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    bench_project: Path,
    file: Mapping[str, Any],
    option: tuple[str, ...],
    match: str,
) -> None:
    write_onnx(bench_project / "m.onnx", **file)
    before = list_files(bench_project)
    with pytest.raises(ConfigError, match=match):
        main.run(["bench", "m.onnx", *option])
    assert list_files(bench_project) == before


X, Y = make_samples()


@pytest.mark.parametrize(
    ("arrays", "dtype", "match"),
    [
        ({"x": X[:, :3]}, "float32", r"samples of shape \(3\), and m\.onnx takes \(4\)"),
        ({"x": X[..., None]}, "float32", r"samples of shape \(4, 1\), and m\.onnx takes \(4\)"),
        ({"x": X[:0]}, "float32", "at least one"),
        ({"x": np.where(X > 0, np.nan, X)}, "float32", "holds NaN or infinity"),
        ({"x": X.astype(np.float64) * 1e300}, "float32", "exceeds the range of float32"),
        ({"x": X.astype(str)}, "float32", "give numbers"),
        ({"x": X.astype(object)}, "float32", "can't be read as an .npz"),
        ({"x": X}, "int32", "not whole"),
        ({"x": np.full((2, FEATURES), 300)}, "uint8", r"outside 0\.\.255"),
        ({"x": X.astype(int), "y": Y, "mask": Y}, "int64", "holds an array 'mask'. It may contain only x and y"),
        ({"x": np.full((2, FEATURES), 2)}, "bool", r"outside 0\.\.1"),
        ({"y": Y}, "float32", "holds no x"),
        ({"x": X, "labels": Y}, "float32", "holds an array 'labels'"),
        ({"x": X, "y": Y[1:]}, "float32", r"shape \(39\): give a number for each of the 40"),
        (
            {"x": X, "y": Y.astype(np.float32)},
            "float32",
            r"the labels are float32 .* Name their metric",
        ),
        ({"x": X, "y": Y - 1}, "float32", "the output has 3 classes, and the targets go from -1 to 1"),
        ({"x": X, "y": Y + 1}, "float32", "the output has 3 classes, and the targets go from 1 to 3"),
    ],
)
def test_data_that_does_not_fit_is_refused(
    bench_project: Path, expect_refusal: Refusal, arrays: Mapping[str, np.ndarray], dtype: str, match: str
) -> None:
    write_onnx(bench_project / "m.onnx", dtype=dtype)
    np.savez(bench_project / "data.npz", **arrays)  # type: ignore[arg-type]
    expect_refusal(match, "m.onnx", "--data", "data.npz")


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"x": X, "maks": X}, "holds an array 'maks'. Did you mean 'mask'"),
        ({"x": X, "y": Y}, "holds no mask"),
        ({"x": X, "mask": X[1:]}, r"inputs of different lengths: 40 of x, 39 of mask"),
        ({"x": X, "mask": X[:, :3]}, r"mask in data\.npz has samples of shape \(3\)"),
        (
            {"x": X, "mask": X, "y": Y},
            r"outputs 'y' float32 \[3\], 'best' int64 \[\]\. Name their metric with",
        ),
    ],
)
def test_data_that_does_not_fit_several_inputs_and_outputs_is_refused(
    bench_project: Path, expect_refusal: Refusal, arrays: Mapping[str, np.ndarray], match: str
) -> None:
    write_onnx(bench_project / "m.onnx", inputs=("x", "mask"), outputs=("y", "best"))
    np.savez(bench_project / "data.npz", **arrays)  # type: ignore[arg-type]
    expect_refusal(match, "m.onnx", "--data", "data.npz")


def test_a_data_file_that_is_not_an_npz_is_refused(bench_project: Path, expect_refusal: Refusal) -> None:
    write_onnx(bench_project / "m.onnx")
    expect_refusal(r"absent\.npz does not exist", "m.onnx", "--data", "absent.npz")
    np.save(bench_project / "x.npy", X)
    expect_refusal(r"can't be read as an \.npz", "m.onnx", "--data", "x.npy")
    write_data(bench_project / "cut.npz")
    (bench_project / "cut.npz").write_bytes((bench_project / "cut.npz").read_bytes()[:-40])
    expect_refusal(r"can't be read as an \.npz", "m.onnx", "--data", "cut.npz")


def test_labels_are_refused_if_the_output_is_not_a_row_of_values(bench_project: Path, expect_refusal: Refusal) -> None:
    write_onnx(bench_project / "m.onnx", outputs=("y", "best"))
    expect_refusal(
        r"the outputs 'best' int64 \[\]\. Name their metric",
        "m.onnx",
        "--data",
        write_data(bench_project / "data.npz"),
        "--output",
        "best",
    )


def test_an_onnx_model_without_inputs_is_refused(bench_project: Path, expect_refusal: Refusal) -> None:
    model = onnx.load(write_onnx(bench_project / "m.onnx"))
    del model.graph.input[:]
    onnx.save(model, bench_project / "m.onnx")
    expect_refusal("has no input: a file with one or more inputs", "m.onnx")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--metric", "acuracy"), "unknown metric 'acuracy'. Did you mean 'accuracy'"),
        (("--metric", "accuracy"), "--metric needs labels: y in --data, or --labels"),
        (("--labels", "y.npy"), "--labels needs --data"),
        (("--data", "x.npz", "--labels", "y.npy"), r"y\.npy does not exist. --labels names an .npy file"),
        (("--data", "x.npz", "--labels", "truth"), r"x\.npz holds no 'truth', which --labels names"),
        (("--data", "xy.npz", "--metric", "auc"), "AUC needs a target of 0 or 1 for each sample"),
        (("--data", "xy.npz", "--metric", "top5_accuracy"), "needs more than 5 classes, and the output has 3"),
        (("--data", "xy.npz", "--metric", "map_50"), r"needs targets \(N, B, 5\)"),
        (("--data", "xy.npz", "--metric", "rmse"), "both need the same shape"),
    ],
)
def test_a_metric_or_labels_that_do_not_fit_are_refused(
    bench_project: Path, expect_refusal: Refusal, options: tuple[str, ...], match: str
) -> None:
    write_onnx(bench_project / "m.onnx")
    np.savez(bench_project / "x.npz", x=X)
    np.savez(bench_project / "xy.npz", x=X, y=Y)
    expect_refusal(match, "m.onnx", *options)
