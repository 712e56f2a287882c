"""Reading .onnx files that other tools wrote: weights in other files, open sizes, shapes of outputs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeproof.converters.model_files import check_regular_file
from edgeproof.core.artifacts import TensorSpec
from edgeproof.core.errors import ConfigError

Shape = tuple[int | None, ...]


def read_structure(path: Path) -> Any:
    """Read a model without the weights that it keeps in other files."""
    import onnx

    return onnx.load(path, format="protobuf", load_external_data=False)


def load(path: Path) -> Any:
    """Read a model and all weights that it keeps in other files. Raises ConfigError if such a file does not fit."""
    import onnx

    with resolve_links(path) as plain:
        model = read_structure(plain)
        for tensor in find_external_tensors(model):
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(plain.parent))
    return model


def find_external_tensors(message: Any) -> Iterator[Any]:
    """Yield the tensors in other files, wherever a model refers to them: initializers, attributes, inner graphs."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        if onnx.external_data_helper.uses_external_data(message):
            yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from find_external_tensors(part)


@contextmanager
def resolve_links(path: Path) -> Iterator[Path]:
    """Yield the path of a model whose weights are in plain files beside it. Links are copied to a temporary directory.

    The cache of the Hugging Face Hub consists of links to blobs, and loaders refuse such links, because a link may lead
    to any file. Raises ConfigError for a link that leads outside of the directory of the model or of its own blob.
    """
    locations = {_read_location(tensor) for tensor in find_external_tensors(read_structure(path))}
    files = {location: path.parent / location for location in sorted(locations)}
    for location, file in files.items():
        _check_location(path, location, file)
    if not any(file.is_symlink() or file.stat().st_nlink > 1 for file in files.values()):
        yield path
        return
    with tempfile.TemporaryDirectory() as directory:
        for location, file in files.items():
            copy = Path(directory, location)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        plain = Path(directory, "model.onnx")
        shutil.copyfile(path, plain)
        yield plain


def read_spec(value: Any) -> TensorSpec:
    """Return the spec of an input or output. Sizes of -1 and 0 are open, as names are.

    `shape` is None if the number of axes is unknown. Raises ValueError for another negative size.
    """
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorSpec(value.name, None, "an unknown type" if kind is None else kind.removesuffix("_type"))
    element_type = value.type.tensor_type.elem_type
    if element_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        dtype = onnx.TensorProto.DataType.Name(element_type).lower()
    else:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(element_type).name
    return TensorSpec(value.name, _read_shape(value), dtype)


def fix_shapes(model: Any, specs: Sequence[TensorSpec], input_shapes: Sequence[Sequence[int]]) -> None:
    """Set the inputs' shapes, and the sizes of the outputs that follow from them. Other sizes depend on the data.

    These stay open, and the engine computes them in every inference.
    """
    graph = model.graph
    model_inputs = {value.name: value for value in graph.input}
    bindings = {}  # the sizes that stand for the names of axes
    for spec, input_shape in zip(specs, input_shapes, strict=True):
        for axis, size in zip(model_inputs[spec.name].type.tensor_type.shape.dim, input_shape, strict=True):
            bindings[axis.dim_param] = size
            axis.dim_value = size
    bindings.pop("", None)
    declared = [_read_shape(value, bindings) for value in graph.output]
    del graph.value_info[:]  # shapes of intermediate tensors, some still open; ONNX Runtime infers them again
    for value in graph.output:
        if value.type.WhichOneof("value") == "tensor_type":
            value.type.tensor_type.ClearField("shape")
    inferred = _infer_output_shapes(model)
    for value, shape, claim in zip(graph.output, inferred, declared, strict=True):
        if value.type.WhichOneof("value") != "tensor_type" or shape is None:
            continue
        value.type.tensor_type.shape.SetInParent()  # a shape without axes is that of a scalar
        sizes = (
            shape if claim is None or len(claim) != len(shape) else [a or b for a, b in zip(shape, claim, strict=True)]
        )
        for fixed in sizes:
            axis = value.type.tensor_type.shape.dim.add()
            if fixed is not None:
                axis.dim_value = fixed


def _infer_output_shapes(model: Any) -> list[Shape | None]:
    """Infer the shapes of all outputs, None for a size or a shape that the input's shape does not decide.

    ONNX Runtime first folds what the input's shape makes constant, such as the target of a Reshape that was computed
    from a batch size. The shapes are read from the folded model.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as directory:
        folded = Path(directory, "model.onnx")
        options.optimized_model_filepath = str(folded)
        providers = ["CPUExecutionProvider"]
        ort.InferenceSession(model.SerializeToString(), options, providers=providers)
        options.optimized_model_filepath = ""
        ports = {port.name: port for port in ort.InferenceSession(folded, options, providers=providers).get_outputs()}
        has_shape = {
            value.name: value.type.tensor_type.HasField("shape") for value in read_structure(folded).graph.output
        }
    return [
        tuple(size if isinstance(size, int) and size >= 0 else None for size in ports[value.name].shape)
        if has_shape[value.name]
        else None
        for value in model.graph.output
    ]


def _read_shape(value: Any, bindings: dict[str, int] | None = None) -> Shape | None:
    """Return a declared shape, None if there is none. `bindings` gives the sizes of named axes."""
    tensor_type = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or not tensor_type.HasField("shape"):
        return None
    sizes = [
        axis.dim_value if axis.HasField("dim_value") else (bindings or {}).get(axis.dim_param)
        for axis in tensor_type.shape.dim
    ]
    for size in sizes:
        if size is not None and size < -1:
            raise ValueError(
                f"'{value.name}' has an axis of size {size}. Sizes are positive, and 0 or -1 where they are open. "
                "Export the model again."
            )
    return tuple(size if size is not None and size > 0 else None for size in sizes)


def _read_location(tensor: Any) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _check_location(path: Path, location: str, file: Path) -> None:
    """Raise ConfigError if the weights of a model can't be read from a file."""
    if not location or Path(location).is_absolute() or ".." in Path(location).parts:
        raise ConfigError(
            f"{path} keeps weights in '{location}', which is not a file beside it or below its directory."
        )
    if not file.exists():
        raise ConfigError(f"{path} keeps weights in {file.name}, which does not exist. Copy it to {file.parent}.")
    check_regular_file(file)
    homes = path.parent.resolve(), path.resolve().parent
    if not any(file.resolve().is_relative_to(home) for home in homes):
        raise ConfigError(
            f"{path} keeps weights in {location}, a link that leads to another directory: {file.resolve()}. "
            f"If you trust it, copy that file to {file}."
        )
