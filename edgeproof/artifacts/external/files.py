"""Kinds of external files: files in a runtime's own format, which it adopts, and models, which are exported."""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.artifacts import conversion
from edgeproof.artifacts.external.guards import check_unpacked_size, run_guarded
from edgeproof.artifacts.external.names import name_files
from edgeproof.config import runtime_extras
from edgeproof.converters.model_files import check_regular_file
from edgeproof.core import plugins
from edgeproof.core.artifacts import ExportResult, ModelInterface, TensorSpec
from edgeproof.core.directories import hash_file, list_files
from edgeproof.core.errors import ConfigError
from edgeproof.core.job import NULL_RUNTIME
from edgeproof.core.ports import DTYPES, Port

if TYPE_CHECKING:
    from edgeproof.artifacts.external.keras_files import KerasFunction
    from edgeproof.artifacts.external.torch_files import Program

AS_IS = "as-is"  # the scheme of a file that is measured without any conversion
SAVED_MODEL = "saved_model.pb"
KERAS_SUFFIXES = (".keras", ".h5")
TORCH_SUFFIX = ".pt2"
# The element types of outputs that are read.
OUTPUT_DTYPES = (
    *("float32", "float16", "float64", "bool"),
    *("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
)

Array = np.ndarray[Any, Any]
Shapes = Sequence[Sequence[int]]


class ExternalFile(ABC):
    """A model file that was made elsewhere. `name` is the model's name in the table.

    `has_schemes` is False if the file is measured as it is. `packages` are those that export it.
    """

    has_schemes = True
    packages: tuple[str, ...] = ()

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    def __reduce__(self) -> tuple[Callable[..., ExternalFile], tuple[type[ExternalFile], Path, str]]:
        """Pickle the path only. A process that receives the file again reuses the model that it has read."""
        return _reopen, (type(self), self.path, self.name)

    @abstractmethod
    def list_runtimes(self) -> list[str]:
        """List the runtimes that can run the file."""

    def list_default_runtimes(self) -> list[str]:
        """List the runtimes that run the file if the user chooses none."""
        return self.list_runtimes()

    @abstractmethod
    def read_interface(self, runtime: str) -> ModelInterface:
        """Read the inputs and outputs of the file."""

    @abstractmethod
    def export(
        self, runtime: str, scheme: str, samples: tuple[Array, ...], *, shapes: Shapes, output: int, out_dir: Path
    ) -> ExportResult:
        """Write the files that the runtime reads into `out_dir`.

        `samples` have an array (N, *shape) for each input and are for calibration. `shapes` are those of the inputs,
        with a batch of one. `output` is the index of the output to score, which becomes the first.
        """

    def describe_model(self, inputs: Sequence[Port]) -> dict[str, Any]:
        """Return the facts of the model that are known, such as parameters, macs and weight_sparsity."""
        return {}

    def hash_content(self) -> str:
        """Return the sha256 of the file, or of the names and contents of a directory's files."""
        if self.path.is_file():
            return hash_file(self.path)
        lines = [f"{name}\0{hash_file(self.path / name)}\n" for name in list_files(self.path)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


class RuntimeFile(ExternalFile):
    """A file in a runtime's own format, which is measured as it is."""

    has_schemes = False

    def list_runtimes(self) -> list[str]:
        """List the runtimes whose ADOPTS contains the file's suffix."""
        return [
            name for name in plugins.list_names("runtimes") if self.path.suffix.lower() in _list_adopted_suffixes(name)
        ]

    def list_default_runtimes(self) -> list[str]:
        """List the runtimes whose main format (the first of ADOPTS) the file has, without extras if others have it."""
        main = [name for name in self.list_runtimes() if _list_adopted_suffixes(name)[0] == self.path.suffix.lower()]
        return _leave_out_extras(main) or main

    def read_interface(self, runtime: str) -> ModelInterface:
        """Read the inputs and outputs with the runtime's own reader."""
        plugin = _load_runtime(runtime)
        interface: ModelInterface = run_guarded(
            f"{self.path} can't be read by {runtime}", lambda: plugin.read_interface(self.path)
        )
        return interface

    def export(
        self, runtime: str, scheme: str, samples: tuple[Array, ...], *, shapes: Shapes, output: int, out_dir: Path
    ) -> ExportResult:
        """Let the runtime copy the file."""
        plugin = _load_runtime(runtime)
        result: ExportResult = run_guarded(
            f"{self.path} can't be taken by {runtime}",
            lambda: plugin.adopt(self.path, out_dir, input_shapes=shapes, output=output),
        )
        return result


class KerasModel(ExternalFile):
    """A Keras file or a SavedModel directory. TensorFlow's converter exports it in every scheme."""

    packages = ("keras", "tensorflow")

    def list_runtimes(self) -> list[str]:
        """List the runtimes that can export a TensorFlow function."""
        return [name for name in plugins.list_names("runtimes") if hasattr(_load_runtime(name), "export_keras")]

    def read_interface(self, runtime: str) -> ModelInterface:
        """Read the inputs and outputs that the model declares."""
        return self._model.interface

    def export(
        self, runtime: str, scheme: str, samples: tuple[Array, ...], *, shapes: Shapes, output: int, out_dir: Path
    ) -> ExportResult:
        """Convert the model."""
        model = self._model
        order = move_to_front(output, len(model.interface.outputs))

        def compute(*inputs: Any) -> Any:
            outputs = model.compute(*inputs)
            return outputs[0] if len(outputs) == 1 else [outputs[index] for index in order]

        inputs = _convert_types(samples, model.interface)
        result: ExportResult = _load_runtime(runtime).export_keras(compute, model.variables, inputs, scheme, out_dir)
        return result

    @functools.cached_property
    def _model(self) -> KerasFunction:
        return run_guarded(f"{self.path} can't be read by Keras", self._load)

    def _load(self) -> KerasFunction:
        from edgeproof.artifacts.external import keras_files

        check_unpacked_size(self.path)
        return keras_files.load(self.path)


class TorchProgram(ExternalFile):
    """A .pt2 file of torch.export. Every runtime exports it in the same way as a model that was trained here."""

    packages = ("torch",)

    def list_runtimes(self) -> list[str]:
        """List all runtimes but the null runtime, which computes nothing."""
        return [name for name in plugins.list_names("runtimes") if name != NULL_RUNTIME]

    def list_default_runtimes(self) -> list[str]:
        """List the runtimes that are always installed."""
        return _leave_out_extras(self.list_runtimes())

    def read_interface(self, runtime: str) -> ModelInterface:
        """Read the inputs and outputs that the program declares."""
        return self._program[1]

    def export(
        self, runtime: str, scheme: str, samples: tuple[Array, ...], *, shapes: Shapes, output: int, out_dir: Path
    ) -> ExportResult:
        """Export the program."""
        module, interface = self._program
        module.chosen = output
        inputs = _convert_types(samples, interface)
        return conversion.export_module(runtime, module, inputs, scheme, out_dir)

    def describe_model(self, inputs: Sequence[Port]) -> dict[str, Any]:
        """Compute the same facts as for a model that was trained here. Empty if an input has a type of no port."""
        from edgeproof.models import frameworks

        module, interface = self._program
        if any(spec.dtype not in DTYPES for spec in interface.inputs):
            return {}
        return run_guarded(
            f"{self.path} can't be run by torch", lambda: frameworks.compute_facts(module, inputs).to_meta()
        )

    @functools.cached_property
    def _program(self) -> tuple[Program, ModelInterface]:
        return run_guarded(f"{self.path} can't be read by torch", self._load)

    def _load(self) -> tuple[Program, ModelInterface]:
        from edgeproof.artifacts.external import torch_files

        check_unpacked_size(self.path)
        return torch_files.load(self.path)


def open_files(paths: Sequence[Path]) -> list[ExternalFile]:
    """Find the kind of each file and give it a unique name. Raises ConfigError for a missing or unknown file."""
    classes = [_find_class(path) for path in paths]
    return [kind(path, name) for kind, path, name in zip(classes, paths, name_files(paths), strict=True)]


@functools.lru_cache(maxsize=1)
def _reopen(kind: type[ExternalFile], path: Path, name: str) -> ExternalFile:
    return kind(path, name)


def require_inputs(interface: ModelInterface, path: str) -> None:
    """Raise ConfigError if a file takes no input, or two inputs of the same name."""
    names = [spec.name for spec in interface.inputs]
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            f"{path} has {_format_specs('input', interface.inputs)}: a file with one or more inputs of different names "
            "can be measured."
        )


def select_output(interface: ModelInterface, name: str | None, path: str) -> int:
    """Return the index of the output to score. Without a name it is the first output of numbers.

    Raises ConfigError if `name` is unknown, or if the file has no output of numbers under it.
    """
    known = [spec.name for spec in interface.outputs]
    if name is not None and name not in known:
        raise ConfigError(f"{path} has no output '{name}': it has {_format_specs('output', interface.outputs)}.")
    numeric = [index for index, spec in enumerate(interface.outputs) if spec.dtype in OUTPUT_DTYPES]
    if name is None and numeric:
        return numeric[0]
    if not known:
        raise ConfigError(f"{path} has no output, so there is nothing to measure.")
    index = 0 if name is None else known.index(name)
    if index not in numeric:
        others = " Name another output with --output." if numeric else ""
        raise ConfigError(
            f"{path} has the output '{known[index]}' of {interface.outputs[index].dtype}, and outputs of "
            f"{', '.join(OUTPUT_DTYPES)} are measured.{others}"
        )
    return index


def move_to_front(chosen: int, count: int) -> list[int]:
    """Return the numbers below `count` with the chosen one first."""
    return [chosen, *(index for index in range(count) if index != chosen)]


def _convert_types(samples: tuple[Array, ...], interface: ModelInterface) -> tuple[Array, ...]:
    """Return the samples in the element types that a model declares."""
    return tuple(array.astype(spec.dtype) for array, spec in zip(samples, interface.inputs, strict=True))


def _find_class(path: Path) -> type[ExternalFile]:
    if path.is_dir():
        if not (path / SAVED_MODEL).is_file():
            raise ConfigError(f"{path} is a directory without {SAVED_MODEL}, so it is no SavedModel.")
        for entry in sorted(path.rglob("*")):
            if not entry.is_dir():
                check_regular_file(entry)
        return KerasModel
    check_regular_file(path)
    suffix = path.suffix.lower()
    if suffix in KERAS_SUFFIXES:
        return KerasModel
    if suffix == TORCH_SUFFIX:
        return TorchProgram
    adopted = {suffix for name in plugins.list_names("runtimes") for suffix in _list_adopted_suffixes(name)}
    if suffix in adopted:
        return RuntimeFile
    known = ", ".join(sorted({*adopted, *KERAS_SUFFIXES, TORCH_SUFFIX}))
    raise ConfigError(f"{path} is not a model file of a known format. Known: {known}, or a SavedModel directory.")


def _load_runtime(name: str) -> ModuleType:
    return plugins.load("runtimes", name)


def _leave_out_extras(runtimes: Sequence[str]) -> list[str]:
    return [name for name in runtimes if runtime_extras.find_extra(name) is None]


def _list_adopted_suffixes(runtime: str) -> tuple[str, ...]:
    suffixes: tuple[str, ...] = getattr(_load_runtime(runtime), "ADOPTS", ())
    return suffixes


def _format_specs(kind: str, specs: Sequence[TensorSpec]) -> str:
    """Format a count and names: "2 inputs ('x', 'mask')", or "no input"."""
    names = ", ".join(f"'{spec.name}'" for spec in specs)
    return f"{len(specs)} {kind}{'' if len(specs) == 1 else 's'} ({names})" if specs else f"no {kind}"
