"""Files made elsewhere: what is measured is what they say, and what does not fit is one clear message."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.artifacts.external import adopt, files, inputs
from edgeproof.bench import external, verdict
from edgeproof.bench import session as bench_session
from edgeproof.cli import main
from edgeproof.core import directories, plugins
from edgeproof.core.artifacts import TensorSpec
from edgeproof.core.errors import ConfigError
from edgeproof.records import record_files
from edgeproof.report import interleaved
from tests.support.external_files import CLASSES, FEATURES, WEIGHTS, samples, write_data, write_onnx, write_openvino
from tests.unit.conftest import ROOT

HASTE = {"warm_up_s: 1.0": "warm_up_s: 0.2", "min_duration_ms: 200": "min_duration_ms: 5"}


@pytest.fixture(scope="module", autouse=True)
def any_machine_is_quiet_enough() -> Iterator[None]:
    """Runs beside other tests are disturbed, which is not what these tests are about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdict, "LIMITS", {name: (math.inf, text) for name, (_, text) in verdict.LIMITS.items()})
        patch.setattr(verdict, "_unsteady", lambda warm: [])
        yield


def make_project(root: Path) -> Path:
    """What `edgeproof bench` reads, with the quick preset quicker."""
    for name in ("conf", "devices"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copyfile(ROOT / "requirements.lock", root / "requirements.lock")
    quick = root / "conf/preset/quick.yaml"
    text = quick.read_text()
    for slow, fast in HASTE.items():
        text = text.replace(slow, fast)
    quick.write_text(text)
    return root


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)


def run(*argv: object) -> int:
    return main.run(["bench", *map(str, argv), "--preset", "quick", "--scenarios", "single_stream"])


# --- from a file to a table ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which an .onnx file was measured with two runtimes and data."""
    root = make_project(tmp_path_factory.mktemp("benched"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGEPROOF_PLUGINS", raising=False)
        patch.chdir(root)
        write_onnx(root / "Linear Map.onnx", batch="N")
        run("Linear Map.onnx", "--data", write_data(root / "data.npz"), "--runtimes", "onnx,openvino", "--name", "mine")
    return root / "results/brought/mine"


def test_accuracy_is_that_of_numpy_with_every_runtime(benched: Path) -> None:
    x, y = samples()
    for runtime in ("onnx", "openvino"):
        record = record_files.read(benched / f"records/local_{runtime}/{runtime}/linear_map.as-is/accuracy.0")
        np.testing.assert_allclose(record.array("outputs.npz", "outputs"), x @ WEIGHTS, rtol=1e-4, atol=1e-4)
        assert record.content["accuracy"] == {"correct": int(((x @ WEIGHTS).argmax(1) == y).sum()), "total": len(y)}
        assert record.content["accuracy"]["correct"] == 30


def test_the_table_has_a_row_a_runtime_and_dashes_for_what_nobody_knows_of_the_file(benched: Path) -> None:
    rows = [line.split(" | ") for line in (benched / "tables/table.md").read_text().splitlines() if "as-is |" in line]
    assert [row[4] for row in rows] == ["onnx", "openvino"]
    for row in rows:
        assert row[:4] == ["| local", "linear_map", "Linear Map.onnx", "brought"]
        assert row[6].startswith("75.00 [")
        assert row[8:11] == ["–", "–", "–"]
        assert row[-1] == "valid |"


def test_compare_reads_the_records(benched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (benched / f"records/local_{name}/{name}/linear_map.as-is" for name in ("onnx", "openvino"))
    assert main.run(["compare", str(one), str(two)]) == 0
    assert "verdict: too few processes" in capsys.readouterr().out


def test_files_take_turns_and_the_table_says_how_each_compares_with_the_first(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interleaved, "ROUNDS", 3)
    monkeypatch.setattr(bench_session, "INTERLEAVED_DURATION_MS", 50)
    for name in ("one", "two", "three"):
        write_onnx(project / f"{name}.onnx")
    assert run("one.onnx", "two.onnx", "three.onnx", "--in-turns") == 0
    text = (project / "results/brought/one_in_turns/tables/in_turns.md").read_text()
    assert text in capsys.readouterr().out
    for name in ("two", "three"):
        assert f"| onnx | {name}/as-is | one/as-is | 3 | " in text
    found = list(record_files.read_all(project / "results/brought/one_in_turns/records"))
    assert {(of.content["scenario"], of.verdict) for of in found} == {("in_turns", "valid")}
    assert len(found) == 6


def test_one_file_alone_has_nothing_to_take_turns_with(project: Path) -> None:
    write_onnx(project / "one.onnx")
    with pytest.raises(ConfigError, match="--in-turns compares two artifacts or more: onnx has one alone"):
        run("one.onnx", "--in-turns")


def test_where_nobody_measures_times_none_are_compared(project: Path) -> None:
    for name in ("one", "two"):
        write_onnx(project / f"{name}.onnx")
    with pytest.raises(ConfigError, match="nobody measures any on 'ethos_u55'"):
        run("one.onnx", "two.onnx", "--in-turns", "--device", "ethos_u55")


def test_a_record_names_the_file_and_its_sha256_and_the_data_it_was_fed(benched: Path) -> None:
    content = record_files.read(benched / "records/local_onnx/onnx/linear_map.as-is/single_stream.0").content
    root = benched.parents[2]
    digest = directories.hash_file(root / "Linear Map.onnx")
    assert content["artifact"]["model"]["lineage"] == {"parent": {"name": "Linear Map.onnx", "sha256": digest}}
    assert content["task"] == f"data.npz {directories.hash_file(root / 'data.npz')[:12]}"


def test_without_data_nothing_is_scored_and_the_table_says_so(project: Path) -> None:
    paths = [write_onnx(project / "a.onnx"), write_openvino(project / "b.xml")]
    text, directory = external.measure_files(paths, external.BenchOptions(preset="quick", scenarios=["single_stream", "offline"]))
    assert {path.name for path in directory.rglob("records/*/*/*/*")} == {
        *("single_stream.0", "offline.0", "profile.0")
    }
    assert "- `a` onnx as-is: no accuracy: random inputs, seed 0" in text
    assert "- `b` openvino as-is: no accuracy: random inputs, seed 0" in text
    assert text.count("| valid |") == 2
    assert directory == Path("results/brought/a")


# --- what a file becomes ---------------------------------------------------------------------------------------------


def built(path: Path, runtime: str, data: Path | None = None, output: str | None = None) -> Path:
    (brought,) = files.open_files([path])
    read = None if data is None else inputs.read_data(data)
    out_dir = path.parent / "built" / runtime
    adopt.build_artifacts(brought, runtime, [files.AS_IS], data=read, output=output, out_dir=out_dir)
    return out_dir / files.AS_IS


def answers(artifact: Path, runtime: str, x: np.ndarray) -> np.ndarray:
    session = plugins.load("runtimes", runtime).Session(artifact, threads=1)
    found = [session(np.ascontiguousarray(x[i : i + 1], np.float32)).copy() for i in range(len(x))]
    assert all(answer.dtype == np.float32 for answer in found)
    return np.concatenate(found)


def test_a_file_that_leaves_nothing_open_is_measured_as_it_is(project: Path) -> None:
    path, xml = write_onnx(project / "m.onnx"), write_openvino(project / "n.xml")
    assert (built(path, "onnx") / "model.onnx").read_bytes() == path.read_bytes()
    taken = built(xml, "openvino")
    assert (taken / "model.xml").read_bytes() == xml.read_bytes()
    assert (taken / "model.bin").read_bytes() == xml.with_suffix(".bin").read_bytes()


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("batch", ["N", 1])
def test_inputs_of_every_type_are_fed_as_the_file_wants_them(
    project: Path, runtime: str, dtype: str, batch: str | int
) -> None:
    artifact = built(write_onnx(project / "m.onnx", batch=batch, dtype=dtype), runtime)
    x, _ = samples(8, dtype)
    expected = x.astype(np.float32) @ WEIGHTS
    np.testing.assert_allclose(answers(artifact, runtime, x), expected, rtol=2e-3, atol=2e-2)
    assert directories.read_meta(artifact)["output_shape"] == [1, CLASSES]


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("batch", ["N", None, 1])
def test_the_named_output_is_read_whatever_its_type(project: Path, runtime: str, batch: str | int | None) -> None:
    path = write_onnx(project / "m.onnx", batch=batch, outputs=("y", "best", "shorter"))
    x, _ = samples(8)
    y = x @ WEIGHTS
    np.testing.assert_array_equal(answers(built(path, runtime, output="best"), runtime, x), y.argmax(1))
    shorter = answers(built(path, runtime, output="shorter"), runtime, x)
    np.testing.assert_allclose(shorter, y.astype(np.float16).astype(np.float32), rtol=2e-3, atol=2e-2)
    notes = directories.read_meta(built(path, runtime, output="y"))["notes"]
    assert "output 'y' of 3" in notes


def test_the_outputs_that_are_not_read_are_still_computed(project: Path) -> None:
    path = write_onnx(project / "m.onnx", batch="N", outputs=("y", "best"))
    session = onnxruntime.InferenceSession(built(path, "onnx", output="best") / "model.onnx")
    assert [(port.name, port.shape) for port in session.get_outputs()] == [("best", [1]), ("y", [1, CLASSES])]


def test_open_axes_besides_the_batch_take_their_size_from_the_data(project: Path) -> None:
    path = write_onnx(project / "m.onnx", batch="N", features="F")
    for runtime in ("onnx", "openvino"):
        artifact = built(path, runtime, write_data(project / "data.npz"))
        np.testing.assert_allclose(answers(artifact, runtime, samples(3)[0]), samples(3)[0] @ WEIGHTS, rtol=1e-4)
    with pytest.raises(
        ConfigError, match=r"takes inputs of shape \(\?, \?\) and leaves more than the batch open.*--data"
    ):
        built(path, "onnx")


def test_weights_beside_an_onnx_file_come_along(project: Path) -> None:
    path = write_onnx(project / "m.onnx", external=True)
    assert (project / "m.weights").stat().st_size >= WEIGHTS.nbytes
    artifact = built(path, "onnx")
    (project / "m.weights").unlink()
    np.testing.assert_allclose(answers(artifact, "onnx", samples(3)[0]), samples(3)[0] @ WEIGHTS, rtol=1e-4)


def test_building_twice_gives_the_same_bytes(project: Path) -> None:
    path = write_onnx(project / "m.onnx", batch="N", outputs=("y", "best"))
    for runtime in ("onnx", "openvino"):
        first = directories.content_sha256(directories.read_meta(built(path, runtime, output="best")))
        assert directories.content_sha256(directories.read_meta(built(path, runtime, output="best"))) == first


# --- random inputs ---------------------------------------------------------------------------------------------------


def random_inputs(dtype: str, quantization: tuple[float, int] | None = None) -> np.ndarray:
    return inputs.prepare_samples(TensorSpec("x", (1, 50, 20), dtype, quantization), (1, 50, 20), None, "m").inputs


def test_random_inputs_are_normal_or_all_that_few_bits_can_say_and_never_an_index_too_far() -> None:
    floats = random_inputs("float32")
    assert floats.dtype == np.float32
    assert abs(floats.mean()) < 0.05
    assert abs(floats.std() - 1) < 0.05
    for dtype in ("int8", "uint8", "int16"):
        limits = np.iinfo(dtype)
        drawn = random_inputs(dtype)
        assert (np.rint(drawn) == drawn).all()
        assert drawn.min() < limits.min + 20
        assert drawn.max() > limits.max - 20
        assert np.array_equal(drawn.astype(dtype), drawn)
    for dtype in ("int32", "int64"):
        assert set(np.unique(random_inputs(dtype))) == {0, 1}
    np.testing.assert_array_equal(random_inputs("float32"), floats)


@given(st.floats(1e-4, 10), st.integers(-128, 127))
def test_random_inputs_of_a_quantized_file_reach_every_integer(scale: float, zero: int) -> None:
    drawn = random_inputs("int8", (scale, zero))
    integers = np.rint(drawn.astype(np.float64) / scale + zero)
    assert (integers.min(), integers.max()) == (-128, 127)


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(project: Path, capsys: pytest.CaptureFixture[str], match: str, *argv: object) -> None:
    """One ConfigError, and nothing written but what was there."""
    before = {path for path in project.rglob("*") if ".edgeproof" not in path.parts}
    with pytest.raises(ConfigError, match=match):
        run(*argv)
    assert {path for path in project.rglob("*") if ".edgeproof" not in path.parts} == before
    assert not list(project.rglob("*.part"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("absent.onnx", "absent.onnx does not exist"),
        ("notes.txt", r"no kind that can be brought: .*\.h5, .*\.keras, .*\.onnx, .*\.tflite, .*\.xml"),
        ("folder", "without saved_model.pb, so it is no SavedModel"),
        ("program.pt2", r"program.pt2 can't be read by torch: BadZipFile"),
    ],
)
def test_what_is_no_model_file_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], name: str, match: str
) -> None:
    (project / "notes.txt").write_text("weights?")
    (project / "program.pt2").write_bytes(b"PK")
    (project / "folder").mkdir()
    refused(project, capsys, match, name)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".bin", ".tflite"])
def test_a_truncated_file_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], suffix: str, share: float
) -> None:
    path = project / f"m{suffix}"
    if suffix in (".xml", ".bin"):
        write_openvino(path.with_suffix(".xml"))
    elif suffix == ".onnx":
        write_onnx(path)
    else:
        path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(range(256)) * 8)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(
        project,
        capsys,
        r"^m\.\w+ (can't be|has no input)",
        path.with_suffix(".xml" if suffix == ".bin" else suffix).name,
    )


def test_an_openvino_file_without_its_weights_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_openvino(project / "m.xml").with_suffix(".bin").unlink()
    refused(project, capsys, r"has no m\.bin beside it", "m.xml")


@pytest.mark.parametrize(
    ("file", "wish", "match"),
    [
        ({"inputs": ("x", "mask")}, (), r"m\.onnx has 2 inputs \('x', 'mask'\)"),
        ({"outputs": ("y", "best")}, (), r"m\.onnx has 2 outputs \('y', 'best'\): name one with --output"),
        ({"outputs": ("y", "best")}, ("--output", "z"), r"no output 'z': it has 2 outputs"),
        ({"batch": 8}, (), r"shape \(8, 4\): the first axis must be a batch of 1"),
        ({"dtype": "bool"}, (), r"takes bool: inputs may be float32"),
        ({}, ("--device", "moon"), "unknown device 'moon'"),
        ({}, ("--preset", "quik"), "unknown preset 'quik'. Did you mean 'quick'"),
        ({}, ("--schemes", "int8-static"), "lowered already"),
        ({}, ("--runtimes", "tflite"), r"can be run by onnx, openvino, and not by tflite"),
        ({}, ("--runtimes", "onnx,tflite"), "no file given can be run by tflite"),
        ({}, ("--runtimes", "onx"), "unknown runtime 'onx'. Did you mean 'onnx'"),
        ({}, ("--scenarios", "offline"), "must name a SingleStream scenario"),
        ({}, ("--scenarios", "single"), "unknown scenario 'single'"),
        ({}, ("--name", "../mine"), "may hold small letters"),
    ],
)
def test_a_wish_that_can_not_be_fulfilled_is_refused(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    file: Mapping[str, Any],
    wish: tuple[str, ...],
    match: str,
) -> None:
    write_onnx(project / "m.onnx", **file)
    before = {path for path in project.rglob("*") if ".edgeproof" not in path.parts}
    with pytest.raises(ConfigError, match=match):
        main.run(["bench", "m.onnx", *wish])
    assert {path for path in project.rglob("*") if ".edgeproof" not in path.parts} == before


X, Y = samples()


@pytest.mark.parametrize(
    ("arrays", "dtype", "match"),
    [
        ({"x": X[:, :3]}, "float32", r"samples of shape \(3\), and m\.onnx takes \(4\)"),
        ({"x": X[..., None]}, "float32", r"samples of shape \(4, 1\), and m\.onnx takes \(4\)"),
        ({"x": X[:0]}, "float32", "at least one"),
        ({"x": np.where(X > 0, np.nan, X)}, "float32", "holds NaN or infinity"),
        ({"x": X.astype(np.float64) * 1e300}, "float32", "exceeds float32"),
        ({"x": X.astype(str)}, "float32", "give numbers"),
        ({"x": X.astype(object)}, "float32", "can't be read as an .npz"),
        ({"x": X}, "int32", "not whole"),
        ({"x": np.full((2, FEATURES), 300)}, "uint8", r"outside 0\.\.255"),
        ({"x": np.full((2, FEATURES), 2**24 + 1)}, "int64", "beyond 2"),
        ({"y": Y}, "float32", "holds no x"),
        ({"x": X, "labels": Y}, "float32", "holds an array 'labels'"),
        ({"x": X, "y": Y[1:]}, "float32", r"shape \(39\): give one whole number for each of the 40"),
        ({"x": X, "y": Y.astype(np.float32)}, "float32", "y in data.npz is of float32"),
        ({"x": X, "y": Y - 1}, "float32", "labels are whole numbers from 0"),
        ({"x": X, "y": Y + 1}, "float32", r"goes up to 3, and m\.onnx has 3 classes"),
    ],
)
def test_data_that_does_not_fit_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], arrays: Mapping[str, np.ndarray], dtype: str, match: str
) -> None:
    write_onnx(project / "m.onnx", dtype=dtype)
    np.savez(project / "data.npz", **arrays)  # type: ignore[arg-type]
    refused(project, capsys, match, "m.onnx", "--data", "data.npz")


def test_data_that_is_no_npz_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_onnx(project / "m.onnx")
    refused(project, capsys, r"absent\.npz does not exist", "m.onnx", "--data", "absent.npz")
    np.save(project / "x.npy", X)
    refused(project, capsys, r"can't be read as an \.npz", "m.onnx", "--data", "x.npy")
    write_data(project / "cut.npz")
    (project / "cut.npz").write_bytes((project / "cut.npz").read_bytes()[:-40])
    refused(project, capsys, r"can't be read as an \.npz", "m.onnx", "--data", "cut.npz")


def test_labels_need_one_row_of_values(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_onnx(project / "m.onnx", outputs=("y", "best"))
    refused(
        project,
        capsys,
        r"answers with shape \(1\): y is compared",
        "m.onnx",
        "--data",
        write_data(project / "data.npz"),
        "--output",
        "best",
    )


# --- names -----------------------------------------------------------------------------------------------------------


def test_files_are_named_by_their_stem_and_where_that_is_not_enough_by_their_suffix_too(project: Path) -> None:
    (project / "other").mkdir()
    paths = [write_onnx(project / "a-B.onnx"), write_openvino(project / "c.xml"), write_onnx(project / "c.onnx")]
    assert [file.name for file in files.open_files(paths)] == ["a_b", "c_xml", "c_onnx"]
    with pytest.raises(ConfigError, match="gives no name of its own"):
        files.open_files([paths[0], write_onnx(project / "other" / "a-B.onnx")])


def test_an_onnx_model_without_inputs_is_refused(project: Path) -> None:
    model = onnx.load(write_onnx(project / "m.onnx"))
    del model.graph.input[:]
    onnx.save(model, project / "m.onnx")
    with pytest.raises(ConfigError, match="has no input: a file with exactly one can be measured"):
        built(project / "m.onnx", "onnx")
