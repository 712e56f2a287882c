"""Keras, SavedModel and TFLite files: what TensorFlow wrote is what is measured, in every scheme, and no code runs."""

from __future__ import annotations

import math
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from edgeproof.artifacts.external import adopt, files, inputs
from edgeproof.bench import external, verdict
from edgeproof.cli import main
from edgeproof.core import directories, plugins
from edgeproof.core.errors import ConfigError
from tests.support.external_files import write_onnx
from tests.unit.artifacts.test_external import make_project
from tests.unit.conftest import ROOT

SHAPE, CLASSES = (6, 6, 2), 4
SCHEMES = ("fp32", "fp16", "int8-dynamic", "int8-static")
TOLERANCE = {"fp32": 1e-5, "fp16": 5e-3, "int8-dynamic": 0.08, "int8-static": 0.12}


@pytest.fixture(scope="module")
def model() -> Any:
    """A small CNN with statistics to fold and a second output."""
    keras.utils.set_random_seed(0)
    given = keras.Input(SHAPE, name="pixels")
    x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(given)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    built = keras.Model(given, [keras.layers.Dense(CLASSES, name="classes")(x), keras.layers.Dense(1, name="size")(x)])
    built(np.random.default_rng(1).standard_normal((64, *SHAPE)).astype(np.float32), training=True)
    return built


@pytest.fixture(scope="module")
def classifier(model: Any) -> Any:
    return keras.Model(model.input, model.outputs[0])


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).standard_normal((30, *SHAPE)).astype(np.float32), np.arange(30) % CLASSES


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)


def saved(model: Any, path: Path) -> Path:
    """In the format that the name asks for."""
    model.save(path) if path.suffix else model.export(path, verbose=False)
    return path


def built(path: Path, schemes: tuple[str, ...] = (files.AS_IS,), x: np.ndarray | None = None, **changes: Any) -> Path:
    if x is not None:
        np.savez(path.parent / "x.npz", x=x)
    given = None if x is None else inputs.read_data(path.parent / "x.npz")
    out_dir = path.parent / "built"
    adopt.build_artifacts(*files.open_files([path]), "tflite", schemes, data=given, out_dir=out_dir, **{"output": None, **changes})
    return out_dir


def answers(artifact: Path, x: np.ndarray) -> np.ndarray:
    session = plugins.load("runtimes", "tflite").Session(artifact, threads=1)
    return np.concatenate([session(x[i : i + 1].astype(np.float32)).copy() for i in range(len(x))])


@pytest.fixture
def any_machine_is_quiet_enough() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdict, "LIMITS", {name: (math.inf, text) for name, (_, text) in verdict.LIMITS.items()})
        patch.setattr(verdict, "_unsteady", lambda warm: [])
        yield


@pytest.mark.usefixtures("any_machine_is_quiet_enough")
def test_a_keras_file_gives_one_table_with_a_row_a_scheme_beside_a_lowered_file(
    project: Path, classifier: Any, data: tuple[np.ndarray, np.ndarray]
) -> None:
    np.savez("data.npz", x=data[0], y=data[1])
    converter = tf.lite.TFLiteConverter.from_keras_model(classifier)
    Path("lowered.tflite").write_bytes(converter.convert())
    saved(classifier, Path("cnn.keras"))
    wishes = external.BenchOptions(
        preset="quick", scenarios=["single_stream"], data=Path("data.npz"), schemes=["int8-static", "fp32"]
    )
    text, _ = external.measure_files([Path("cnn.keras"), Path("lowered.tflite")], wishes)
    rows = [line.split(" | ") for line in text.splitlines() if "| brought |" in line]
    assert [row[1] + " " + row[5] for row in rows] == ["cnn fp32", "cnn int8-static", "lowered as-is"]
    assert all(row[-1] == "valid |" for row in rows)
    predicted = classifier(data[0]).numpy().argmax(1)
    assert rows[0][6].startswith(f"{100 * (predicted == data[1]).mean():.2f} [")
    assert rows[0][6] == rows[2][6]
    assert "cnn` tflite int8-static: calibrated with 30 of the inputs measured" in text


@pytest.mark.parametrize("name", ["cnn.keras", "cnn.h5", "cnn"])
def test_every_scheme_computes_what_the_model_computes_within_its_number_format(
    project: Path, classifier: Any, data: tuple[np.ndarray, np.ndarray], name: str
) -> None:
    x = data[0]
    expected = classifier(x).numpy()
    directory = built(saved(classifier, project / name), SCHEMES, x)
    for scheme in SCHEMES:
        error = np.abs(answers(directory / scheme, x) - expected).max() / np.abs(expected).max()
        assert error <= TOLERANCE[scheme], scheme
    sizes = [directories.read_meta(directory / scheme)["size_bytes"] for scheme in SCHEMES]
    assert sizes[0] > sizes[1]


def test_a_sequential_model_is_read_as_any_other(project: Path, data: tuple[np.ndarray, np.ndarray]) -> None:
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    model = keras.Sequential(layers)
    directory = built(saved(model, project / "sequential.keras"), SCHEMES, data[0])
    np.testing.assert_allclose(answers(directory / "fp32", data[0]), model(data[0]).numpy(), atol=1e-5)


def test_loops_are_not_calibrated_and_unrolled_ones_are(project: Path) -> None:
    x = np.random.default_rng(0).standard_normal((30, 6, 4)).astype(np.float32)
    for unroll in (False, True):
        given = keras.Input((6, 4))
        model = keras.Model(given, keras.layers.Dense(3)(keras.layers.GRU(5, unroll=unroll)(given)))
        shutil.rmtree(project / "built", ignore_errors=True)
        directory = built(saved(model, project / f"gru_{unroll}.keras"), ("fp32", "int8-static"), x)
        np.testing.assert_allclose(answers(directory / "fp32", x), model(x).numpy(), atol=1e-5)
        reason = directories.read_meta(directory / "int8-static").get("unsupported")
        assert (reason is None) if unroll else ("can't calibrate a network with a loop" in reason)


def test_layers_that_stay_in_float_are_named(project: Path, data: tuple[np.ndarray, np.ndarray]) -> None:
    model = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    directory = built(saved(model, project / "small.keras"), ("int8-dynamic",), data[0])
    assert any(
        "CONV_2D" in note and "left in fp32" in note
        for note in directories.read_meta(directory / "int8-dynamic")["notes"]
    )


def test_int8_static_takes_and_answers_int8_and_converting_twice_gives_the_same_bytes(
    project: Path, classifier: Any
) -> None:
    path = saved(classifier, project / "cnn.keras")
    directory = built(path, ("int8-static",))
    interface = plugins.load("runtimes", "tflite").read_interface(directory / "int8-static/model.tflite")
    assert [port.dtype for port in (*interface.inputs, *interface.outputs)] == ["int8", "int8"]
    meta = directories.read_meta(directory / "int8-static")
    assert meta["notes"] == ["calibrated with 32 random inputs", "no accuracy: random inputs, seed 0"]
    first = directories.content_sha256(meta)
    assert directories.content_sha256(directories.read_meta(built(path, ("int8-static",)) / "int8-static")) == first


@pytest.mark.parametrize("dtype", [tf.int8, tf.uint8])
def test_a_quantized_files_input_is_quantized_with_its_own_scale_and_its_output_dequantized(
    project: Path, classifier: Any, data: tuple[np.ndarray, np.ndarray], dtype: Any
) -> None:
    x = data[0]
    converter = tf.lite.TFLiteConverter.from_keras_model(classifier)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in x)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = dtype
    path = project / "quantized.tflite"
    path.write_bytes(converter.convert())
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    given, produced = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    expected = []
    for row in x:
        scale, zero = given["quantization"]
        limits = np.iinfo(given["dtype"])
        quantized = np.clip(np.rint(row / np.float32(scale)) + zero, limits.min, limits.max).astype(given["dtype"])
        interpreter.set_tensor(given["index"], quantized[None])
        interpreter.invoke()
        scale, zero = produced["quantization"]
        expected.append((interpreter.get_tensor(produced["index"])[0].astype(np.float32) - zero) * scale)
    artifact = built(path, x=x) / files.AS_IS
    assert (artifact / "model.tflite").read_bytes() == path.read_bytes()
    np.testing.assert_allclose(answers(artifact, x), expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(
        ConfigError, match=rf"takes quantized {given['dtype'].__name__}: give the numbers .* \(q - -?\d+\) \* "
    ):
        built(path, x=np.rint(x).astype(np.int8))


def test_a_file_whose_input_is_tokens_is_fed_whole_numbers(project: Path) -> None:
    keras.utils.set_random_seed(0)
    given = keras.Input((5,), dtype="int32")
    model = keras.Model(given, keras.layers.Dense(3)(keras.layers.Flatten()(keras.layers.Embedding(11, 4)(given))))
    x = np.random.default_rng(0).integers(0, 11, (6, 5))
    directory = built(saved(model, project / "tokens.keras"), ("fp32", "int8-static"), x)
    np.testing.assert_allclose(answers(directory / "fp32", x), model(x).numpy(), rtol=1e-5, atol=1e-6)
    assert answers(directory / "int8-static", x).shape == (6, 3)


@pytest.mark.parametrize("name", ["two.keras", "two", "two.tflite"])
def test_the_named_output_of_several_is_measured(
    project: Path, model: Any, data: tuple[np.ndarray, np.ndarray], name: str
) -> None:
    path = project / name
    if path.suffix == ".tflite":
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    else:
        saved(model, path)
    with pytest.raises(ConfigError, match=r"has 2 outputs \(.*\): name one with --output"):
        built(path)
    schemes = (files.AS_IS,) if path.suffix == ".tflite" else ("fp32",)
    (brought,) = files.open_files([path])
    names = [port.name for port in brought.read_interface("tflite").outputs]
    wide = {port.name: port.shape[-1] for port in brought.read_interface("tflite").outputs}
    for output in names:
        directory = built(path, schemes, data[0], output=output)
        expected = model(data[0])[0 if wide[output] == CLASSES else 1].numpy()
        np.testing.assert_allclose(answers(directory / schemes[0], data[0]), expected, rtol=1e-4, atol=1e-5)


def test_a_scheme_that_the_converter_can_not_do_is_a_row_with_its_reason(project: Path) -> None:
    given = keras.Input((4,))
    model = keras.Model(given, keras.ops.erfinv(given))
    directory = built(saved(model, project / "odd.keras"), ("fp32",))
    assert "lowering" in directories.read_meta(directory / "fp32")["unsupported"]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_keras_file_is_refused_and_never_run(project: Path, suffix: str) -> None:
    given = keras.Input((4,))
    path = saved(keras.Model(given, keras.layers.Lambda(lambda x: x * 2)(given)), project / f"code{suffix}")
    with pytest.raises(ConfigError, match=r"can't be read by Keras: .*Lambda"):
        built(path, ("fp32",))


@pytest.mark.parametrize("name", ["cut.keras", "cut.h5", "cut", "weights.weights.h5", "two_inputs.keras"])
def test_what_keras_can_not_read_or_the_runner_not_feed_is_one_message(
    project: Path, classifier: Any, name: str
) -> None:
    path = project / name
    if name.startswith("weights"):
        classifier.save_weights(path)
    elif name.startswith("two"):
        one, two = keras.Input((4,)), keras.Input((4,))
        saved(keras.Model([one, two], one + two), path)
    else:
        saved(classifier, path)
        held = path / "saved_model.pb" if path.is_dir() else path
        held.write_bytes(held.read_bytes()[: held.stat().st_size // 2])
    told = "has 2 inputs" if name.startswith("two") else "can't be read by Keras"
    with pytest.raises(ConfigError, match=told):
        built(path, ("fp32",))


def test_several_inputs_of_a_tflite_file_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model([one, two], one + two))
    (project / "sum.tflite").write_bytes(converter.convert())
    with pytest.raises(ConfigError, match=r"sum\.tflite has 2 inputs"):
        main.run(["bench", "sum.tflite"])
    assert not (project / "results").exists()


def test_a_truncated_tflite_file_is_refused(project: Path, classifier: Any) -> None:
    content = tf.lite.TFLiteConverter.from_keras_model(classifier).convert()
    for share in (0, 0.1, 0.5, 0.99):
        (project / "cut.tflite").write_bytes(content[: int(share * len(content))])
        with pytest.raises(ConfigError, match=r"cut\.tflite can't be read by tflite"):
            built(project / "cut.tflite")


def about_to_measure(*_: object) -> None:
    raise InterruptedError("about to measure")


@pytest.mark.usefixtures("any_machine_is_quiet_enough")
def test_the_guides_commands_run_as_written(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (ROOT / "docs/bring_your_own.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"<!-- run -->\n```sh\n(.*?)```", guide, re.DOTALL)
    (making,) = re.findall(r"<!-- data -->\n```python\n(.*?)```", guide, re.DOTALL)
    scope = {"q": np.random.default_rng(0).integers(-128, 128, (8, 49, 10), np.int8), "labels": np.arange(8) % 3}
    exec(making, scope)
    with np.load("inputs.npz") as arrays:
        np.testing.assert_allclose(arrays["x"][..., 0], (scope["q"] - 83.0) * 0.5847029089927673, rtol=1e-6)
    given = keras.Input((49, 10, 1))
    saved(keras.Model(given, keras.layers.Dense(3)(keras.layers.Flatten()(given))), Path("model.keras"))
    lowered = tf.lite.TFLiteConverter.from_keras_model(keras.models.load_model("model.keras")).convert()
    for name in ("model.tflite", "old.tflite", "new.tflite"):
        Path(name).write_bytes(lowered)
    write_onnx(Path("model.onnx"))
    shutil.copyfile("conf/preset/quick.yaml", "conf/preset/standard.yaml")
    *lines, last = [shlex.split(line, comments=True)[1:] for line in commands.splitlines()]
    assert len(lines) == 5
    for words in lines:  # as far as everything is checked and lowered
        with monkeypatch.context() as patch:
            patch.setattr(external.benching, "measured", about_to_measure)
            with pytest.raises(InterruptedError, match="about to measure"):
                main.run(words)
    assert main.run(last) == 0
    assert capsys.readouterr().out.count("| valid |") == 2
    compared = re.findall(r"results/brought/\S+", guide.partition("edgeproof compare")[2])[:2]
    assert main.run(["compare", *compared]) == 0
