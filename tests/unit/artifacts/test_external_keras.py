"""Keras, SavedModel and TFLite files: their artifacts compute the same in every scheme, and their code never runs."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from edgeproof.artifacts.external import adopt, files, inputs
from edgeproof.bench import external
from edgeproof.cli import main
from edgeproof.core import directories, plugins
from edgeproof.core.errors import ConfigError
from tests.support.command_blocks import find_block
from tests.support.external_files import write_onnx
from tests.support.external_project import ROOT

SHAPE, CLASSES = (6, 6, 2), 4
SCHEMES = ("fp32", "fp16", "int8-dynamic", "int8-static")
TOLERANCE = {"fp32": 1e-5, "fp16": 5e-3, "int8-dynamic": 0.08, "int8-static": 0.12}


@pytest.fixture(scope="module")
def model() -> Any:
    """Build a small CNN with batch norms to fold and a second output."""
    keras.utils.set_random_seed(0)
    given = keras.Input(SHAPE, name="pixels")
    x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(given)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    cnn = keras.Model(given, [keras.layers.Dense(CLASSES, name="classes")(x), keras.layers.Dense(1, name="size")(x)])
    cnn(np.random.default_rng(1).standard_normal((64, *SHAPE)).astype(np.float32), training=True)
    return cnn


@pytest.fixture(scope="module")
def classifier(model: Any) -> Any:
    return keras.Model(model.input, model.outputs[0])


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).standard_normal((30, *SHAPE)).astype(np.float32), np.arange(30) % CLASSES


def save_model(model: Any, path: Path) -> Path:
    """Save a model in the format of the path's suffix, or as a SavedModel without one."""
    model.save(path) if path.suffix else model.export(path, verbose=False)
    return path


def build_artifacts(
    path: Path, schemes: tuple[str, ...] = (files.AS_IS,), x: np.ndarray | None = None, output: str | None = None
) -> Path:
    if x is not None:
        np.savez(path.parent / "x.npz", x=x)
    external_data = None if x is None else inputs.read_data(path.parent / "x.npz")
    (file,) = files.open_files([path])
    out_dir = path.parent / "built"
    adopt.build_artifacts(file, "tflite", schemes, data=external_data, output=output, out_dir=out_dir)
    return out_dir


def predict(artifact: Path, x: np.ndarray) -> np.ndarray:
    session = plugins.load("runtimes", "tflite").Session(artifact, threads=1)
    return np.concatenate([session(x[i : i + 1])[0].copy() for i in range(len(x))])


@pytest.mark.usefixtures("tolerant_limits")
def test_one_table_has_a_row_for_each_scheme_of_a_keras_file_and_for_a_tflite_file(
    bench_project: Path, classifier: Any, data: tuple[np.ndarray, np.ndarray]
) -> None:
    np.savez("data.npz", x=data[0], y=data[1])
    converter = tf.lite.TFLiteConverter.from_keras_model(classifier)
    Path("lowered.tflite").write_bytes(converter.convert())
    save_model(classifier, Path("cnn.keras"))
    options = external.BenchOptions(
        preset="quick", scenarios=["single_stream"], data=Path("data.npz"), schemes=["int8-static", "fp32"]
    )
    text = external.measure_files([Path("cnn.keras"), Path("lowered.tflite")], options).text
    rows = [line.split(" | ") for line in text.splitlines() if "| brought |" in line]
    assert [row[1] + " " + row[5] for row in rows] == ["cnn fp32", "cnn int8-static", "lowered as-is"]
    assert all(row[-1] == "valid |" for row in rows)
    predicted = classifier(data[0]).numpy().argmax(1)
    assert rows[0][6].startswith(f"{100 * (predicted == data[1]).mean():.2f} [")
    assert rows[0][6] == rows[2][6]
    assert "cnn` tflite int8-static: calibrated with 30 of the inputs measured" in text


@pytest.mark.parametrize("name", ["cnn.keras", "cnn.h5", "cnn"])
def test_every_scheme_computes_what_the_model_computes_within_its_number_format(
    bench_project: Path, classifier: Any, data: tuple[np.ndarray, np.ndarray], name: str
) -> None:
    x = data[0]
    expected = classifier(x).numpy()
    directory = build_artifacts(save_model(classifier, bench_project / name), SCHEMES, x)
    for scheme in SCHEMES:
        error = np.abs(predict(directory / scheme, x) - expected).max() / np.abs(expected).max()
        assert error <= TOLERANCE[scheme], scheme
    sizes = [directories.read_meta(directory / scheme)["size_bytes"] for scheme in SCHEMES]
    assert sizes[0] > sizes[1]


def test_a_sequential_model_computes_the_same_as_its_artifact(
    bench_project: Path, data: tuple[np.ndarray, np.ndarray]
) -> None:
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    model = keras.Sequential(layers)
    directory = build_artifacts(save_model(model, bench_project / "sequential.keras"), SCHEMES, data[0])
    np.testing.assert_allclose(predict(directory / "fp32", data[0]), model(data[0]).numpy(), atol=1e-5)


def test_a_recurrent_layer_is_calibrated_only_if_it_is_unrolled(bench_project: Path) -> None:
    x = np.random.default_rng(0).standard_normal((30, 6, 4)).astype(np.float32)
    for unroll in (False, True):
        given = keras.Input((6, 4))
        model = keras.Model(given, keras.layers.Dense(3)(keras.layers.GRU(5, unroll=unroll)(given)))
        shutil.rmtree(bench_project / "built", ignore_errors=True)
        directory = build_artifacts(
            save_model(model, bench_project / f"gru_{unroll}.keras"), ("fp32", "int8-static"), x
        )
        np.testing.assert_allclose(predict(directory / "fp32", x), model(x).numpy(), atol=1e-5)
        reason = directories.read_meta(directory / "int8-static").get("unsupported")
        assert (reason is None) if unroll else ("can't calibrate a network with a loop" in reason)


def test_layers_that_the_converter_left_in_fp32_are_noted(
    bench_project: Path, data: tuple[np.ndarray, np.ndarray]
) -> None:
    model = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    directory = build_artifacts(save_model(model, bench_project / "small.keras"), ("int8-dynamic",), data[0])
    assert any(
        "CONV_2D" in note and "left in fp32" in note
        for note in directories.read_meta(directory / "int8-dynamic")["notes"]
    )


def test_int8_static_has_int8_inputs_and_outputs_and_the_same_bytes_each_time(
    bench_project: Path, classifier: Any
) -> None:
    path = save_model(classifier, bench_project / "cnn.keras")
    directory = build_artifacts(path, ("int8-static",))
    interface = plugins.load("runtimes", "tflite").read_interface(directory / "int8-static/model.tflite")
    assert [port.dtype for port in (*interface.inputs, *interface.outputs)] == ["int8", "int8"]
    meta = directories.read_meta(directory / "int8-static")
    assert meta["notes"] == ["calibrated with 32 random inputs", "no quality: random inputs, seed 0"]
    first = directories.content_sha256(meta)
    assert (
        directories.content_sha256(directories.read_meta(build_artifacts(path, ("int8-static",)) / "int8-static"))
        == first
    )


@pytest.mark.parametrize("dtype", [tf.int8, tf.uint8])
def test_inputs_and_outputs_of_a_quantized_file_are_converted_with_its_own_scales(
    bench_project: Path, classifier: Any, data: tuple[np.ndarray, np.ndarray], dtype: Any
) -> None:
    x = data[0]
    converter = tf.lite.TFLiteConverter.from_keras_model(classifier)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in x)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = dtype
    path = bench_project / "quantized.tflite"
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
    artifact = build_artifacts(path, x=x) / files.AS_IS
    assert (artifact / "model.tflite").read_bytes() == path.read_bytes()
    np.testing.assert_allclose(predict(artifact, x), expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(
        ConfigError, match=rf"takes quantized {given['dtype'].__name__}: give the numbers .* \(q - -?\d+\) \* "
    ):
        build_artifacts(path, x=np.rint(x).astype(np.int8))


def test_a_file_that_takes_tokens_is_fed_whole_numbers(bench_project: Path) -> None:
    keras.utils.set_random_seed(0)
    given = keras.Input((5,), dtype="int32")
    model = keras.Model(given, keras.layers.Dense(3)(keras.layers.Flatten()(keras.layers.Embedding(11, 4)(given))))
    x = np.random.default_rng(0).integers(0, 11, (6, 5))
    directory = build_artifacts(save_model(model, bench_project / "tokens.keras"), ("fp32", "int8-static"), x)
    np.testing.assert_allclose(predict(directory / "fp32", x), model(x).numpy(), rtol=1e-5, atol=1e-6)
    assert predict(directory / "int8-static", x).shape == (6, 3)


@pytest.mark.parametrize("name", ["two.keras", "two", "two.tflite"])
def test_the_chosen_output_of_several_comes_first(
    bench_project: Path, model: Any, data: tuple[np.ndarray, np.ndarray], name: str
) -> None:
    path = bench_project / name
    if path.suffix == ".tflite":
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    else:
        save_model(model, path)
    schemes = (files.AS_IS,) if path.suffix == ".tflite" else ("fp32",)
    (file,) = files.open_files([path])
    names = [port.name for port in file.read_interface("tflite").outputs]
    wide = {port.name: port.shape[-1] for port in file.read_interface("tflite").outputs}
    for output in names:
        directory = build_artifacts(path, schemes, data[0], output=output)
        expected = model(data[0])[0 if wide[output] == CLASSES else 1].numpy()
        np.testing.assert_allclose(predict(directory / schemes[0], data[0]), expected, rtol=1e-4, atol=1e-5)


def test_a_scheme_that_the_converter_cannot_do_is_unsupported_with_a_reason(bench_project: Path) -> None:
    given = keras.Input((4,))
    model = keras.Model(given, keras.ops.erfinv(given))
    directory = build_artifacts(save_model(model, bench_project / "odd.keras"), ("fp32",))
    assert "to tflite as fp32 failed" in directories.read_meta(directory / "fp32")["unsupported"]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_keras_file_with_code_is_refused(bench_project: Path, suffix: str) -> None:
    given = keras.Input((4,))
    path = save_model(keras.Model(given, keras.layers.Lambda(lambda x: x * 2)(given)), bench_project / f"code{suffix}")
    with pytest.raises(ConfigError, match=r"can't be read by Keras: .*Lambda"):
        build_artifacts(path, ("fp32",))


@pytest.mark.parametrize("name", ["cut.keras", "cut.h5", "cut", "weights.weights.h5"])
def test_a_file_that_keras_cannot_read_raises_one_error(bench_project: Path, classifier: Any, name: str) -> None:
    path = bench_project / name
    if name.startswith("weights"):
        classifier.save_weights(path)
    else:
        save_model(classifier, path)
        content = path / "saved_model.pb" if path.is_dir() else path
        content.write_bytes(content.read_bytes()[: content.stat().st_size // 2])
    with pytest.raises(ConfigError, match="can't be read by Keras"):
        build_artifacts(path, ("fp32",))


@pytest.mark.parametrize("name", ["two.keras", "two", "two.tflite"])
@pytest.mark.parametrize("scheme", ["fp32", "int8-static"])
def test_a_file_with_several_inputs_is_fed_by_their_names(bench_project: Path, name: str, scheme: str) -> None:
    one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
    model, path = keras.Model([two, one], one - 2 * two), bench_project / name
    if path.suffix == ".tflite":
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
        scheme = files.AS_IS
    else:
        save_model(model, path)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 16, 4)).astype(np.float32)
    (file,) = files.open_files([path])
    names = [spec.name for spec in file.read_interface("tflite").inputs]
    given = {spec: x[0 if "one" in spec else 1] for spec in names}
    np.savez(bench_project / "data.npz", **given)  # type: ignore[arg-type]
    data = inputs.read_data(bench_project / "data.npz")
    adopt.build_artifacts(file, "tflite", [scheme], data=data, output=None, out_dir=bench_project / "built")
    session = plugins.load("runtimes", "tflite").Session(bench_project / "built" / scheme, threads=1)
    ports = directories.read_meta(bench_project / "built" / scheme)["inputs"]
    assert [port["name"] for port in ports] == names
    rows = [[given[port["name"]][index : index + 1] for port in ports] for index in range(16)]
    outputs = np.concatenate([session(*row)[0].copy() for row in rows])
    errors = np.abs(outputs - (x[0] - 2 * x[1]))
    # Averaged ranges clip the largest values.
    assert (errors < 0.06).mean() >= 0.9 if scheme == "int8-static" else errors.max() < 1e-6


def test_a_truncated_tflite_file_is_refused(bench_project: Path, classifier: Any) -> None:
    content = tf.lite.TFLiteConverter.from_keras_model(classifier).convert()
    for share in (0, 0.1, 0.5, 0.99):
        (bench_project / "cut.tflite").write_bytes(content[: int(share * len(content))])
        with pytest.raises(ConfigError, match=r"cut\.tflite can't be read by tflite"):
            build_artifacts(bench_project / "cut.tflite")


def stop_before_measuring(*_: object) -> None:
    raise InterruptedError("about to measure")


@pytest.mark.usefixtures("tolerant_limits")
def test_the_commands_of_the_guide_run_as_written(
    bench_project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (ROOT / "docs/bring_your_own.md").read_text(encoding="utf-8")
    commands = find_block("bring_your_own.md", "edgeproof bench").text
    (code,) = re.findall(r"<!-- data -->\n```python\n(.*?)```", guide, re.DOTALL)
    scope = {"q": np.random.default_rng(0).integers(-128, 128, (8, 49, 10), np.int8), "labels": np.arange(8) % 3}
    exec(code, scope)
    with np.load("inputs.npz") as arrays:
        np.testing.assert_allclose(arrays["x"][..., 0], (scope["q"] - 83.0) * 0.5847029089927673, rtol=1e-6)
    given = keras.Input((49, 10, 1))
    save_model(keras.Model(given, keras.layers.Dense(3)(keras.layers.Flatten()(given))), Path("model.keras"))
    tflite_file = tf.lite.TFLiteConverter.from_keras_model(keras.models.load_model("model.keras")).convert()
    for name in ("model.tflite", "old.tflite", "new.tflite"):
        Path(name).write_bytes(tflite_file)
    write_onnx(Path("model.onnx"))
    shutil.copyfile("conf/preset/quick.yaml", "conf/preset/standard.yaml")
    *lines, last = [shlex.split(line, comments=True)[1:] for line in commands.splitlines()]
    assert len(lines) == 6
    np.save("labels.npy", np.arange(8) % 3)
    for words in lines:  # up to the measurement
        with monkeypatch.context() as patch:
            patch.setattr(external.session_run, "run", stop_before_measuring)
            with pytest.raises(InterruptedError, match="about to measure"):
                main.run(words)
    assert main.run(last) == 0
    assert len(re.findall(r"\bvalid\b", capsys.readouterr().out)) == 2
    compared = re.findall(r"results/brought/\S+", guide.partition("edgeproof compare")[2])[:2]
    assert main.run(["compare", *compared]) == 0


def test_a_saved_model_with_the_state_of_an_optimizer_is_refused_with_the_cure(tmp_path: Path) -> None:
    class Trained(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.weights = tf.Variable(tf.ones([2, 2]))
            self.optimizer = tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)
            self.optimizer.minimize(lambda: tf.reduce_sum(self.weights**2), var_list=[self.weights])

        @tf.function(input_signature=[tf.TensorSpec([1, 2], tf.float32)])  # type: ignore[untyped-decorator]
        def predict(self, x: Any) -> Any:
            return {"y": x @ self.weights}

    model = Trained()
    tf.saved_model.save(model, str(tmp_path / "saved"), signatures=model.predict)
    with pytest.raises(ConfigError, match=r"saved holds the state of an optimizer.*without its optimizer"):
        files.open_files([tmp_path / "saved"])[0].read_interface("tflite")


@pytest.mark.parametrize("suffix", [".KERAS", ".H5"])
def test_the_case_of_the_suffix_of_a_keras_file_does_not_matter(tmp_path: Path, suffix: str) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    path = tmp_path / f"m{suffix.lower()}"
    model.save(path)
    path.rename(tmp_path / f"M{suffix}")
    interface = files.open_files([tmp_path / f"M{suffix}"])[0].read_interface("tflite")
    assert [spec.shape for spec in interface.inputs] == [(None, 3)]
