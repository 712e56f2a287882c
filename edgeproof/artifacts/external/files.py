"""The files that can be brought: lowered ones, which a runtime takes as they are, and models, which it exports."""

from __future__ import annotations

import functools
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgeproof.artifacts import conversion
from edgeproof.bench.session import NULL
from edgeproof.core import plugins
from edgeproof.core.artifacts import ExportResult, ModelInterface, TensorSpec
from edgeproof.core.directories import hash_file, list_files
from edgeproof.core.errors import ConfigError, EdgeproofError

AS_IS = "as-is"
SAVED_MODEL = "saved_model.pb"
KERAS_SUFFIXES = (".keras", ".h5")
TORCH_SUFFIX = ".pt2"
MAX_REASON_CHARACTERS = 300

Array = np.ndarray[Any, Any]


class ExternalFile(ABC):
    """A file that was made elsewhere, under the name that rows give it."""

    has_schemes = True
    packages: tuple[str, ...] = ()  # that turn it into artifacts

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    @abstractmethod
    def list_runtimes(self) -> list[str]:
        """The runtimes that can run it."""

    def list_default_runtimes(self) -> list[str]:
        """Those that run it when nobody chooses."""
        return self.list_runtimes()

    @abstractmethod
    def read_interface(self, runtime: str) -> ModelInterface:
        """What it takes and answers."""

    @abstractmethod
    def export(
        self, runtime: str, scheme: str, samples: Array, *, input_shape: Sequence[int], output: int, out_dir: Path
    ) -> ExportResult:
        """Write what the runtime runs into `out_dir`. `samples` (N, *input_shape[1:]) are for calibration."""

    def describe_model(self, input_shape: Sequence[int]) -> dict[str, Any]:
        """What is known of the model: parameters, macs, weight_sparsity."""
        return {}

    def hash_content(self) -> str:
        """Of the file, or of all files of a directory."""
        if self.path.is_file():
            return hash_file(self.path)
        listed = [f"{name}\0{hash_file(self.path / name)}\n" for name in list_files(self.path)]
        return hashlib.sha256("".join(listed).encode()).hexdigest()


class RuntimeFile(ExternalFile):
    """A file in a runtime's own format, which is measured as it is."""

    has_schemes = False

    def list_runtimes(self) -> list[str]:
        """Those whose ADOPTS names the file's suffix."""
        return [name for name in plugins.list_names("runtimes") if self.path.suffix in _list_adopted_suffixes(name)]

    def list_default_runtimes(self) -> list[str]:
        """Those whose first format it is."""
        return [name for name in self.list_runtimes() if _list_adopted_suffixes(name)[0] == self.path.suffix]

    def read_interface(self, runtime: str) -> ModelInterface:
        """What the runtime's own reader tells."""
        found: ModelInterface = run_on_external(
            f"{self.path} can't be read by {runtime}", lambda: _load_runtime(runtime).read_interface(self.path)
        )
        return found

    def export(
        self, runtime: str, scheme: str, samples: Array, *, input_shape: Sequence[int], output: int, out_dir: Path
    ) -> ExportResult:
        """Hand the file over."""
        lowered: ExportResult = run_on_external(
            f"{self.path} can't be taken by {runtime}",
            lambda: _load_runtime(runtime).adopt(self.path, out_dir, input_shape=input_shape, output=output),
        )
        return lowered


class KerasModel(ExternalFile):
    """A Keras file, or a SavedModel directory: TensorFlow's converter makes every scheme of it."""

    packages = ("keras", "tensorflow")

    def list_runtimes(self) -> list[str]:
        """Those that can export what TensorFlow computes."""
        return [name for name in plugins.list_names("runtimes") if hasattr(_load_runtime(name), "export_keras")]

    def read_interface(self, runtime: str) -> ModelInterface:
        """What the model itself declares."""
        found: ModelInterface = self._model.interface
        return found

    def export(
        self, runtime: str, scheme: str, samples: Array, *, input_shape: Sequence[int], output: int, out_dir: Path
    ) -> ExportResult:
        """Convert it; other outputs than the chosen one are cut off."""
        given = samples.astype(self._model.interface.inputs[0].dtype)
        lowered: ExportResult = _load_runtime(runtime).export_keras(
            self._model.outputs[output], self._model.variables, given, scheme, out_dir
        )
        return lowered

    @functools.cached_property
    def _model(self) -> Any:
        return run_on_external(f"{self.path} can't be read by Keras", self._load)

    def _load(self) -> Any:
        from edgeproof.artifacts.external import keras_files

        return keras_files.load(self.path)


class TorchProgram(ExternalFile):
    """A .pt2 of torch.export: every runtime exports it as it exports a model that was trained here."""

    packages = ("torch",)

    def list_runtimes(self) -> list[str]:
        """All but the null runtime, which computes nothing."""
        return [name for name in plugins.list_names("runtimes") if name != NULL]

    def read_interface(self, runtime: str) -> ModelInterface:
        """What the program itself declares."""
        found: ModelInterface = self._program[1]
        return found

    def export(
        self, runtime: str, scheme: str, samples: Array, *, input_shape: Sequence[int], output: int, out_dir: Path
    ) -> ExportResult:
        """Export it, answering with the chosen output alone."""
        module, interface = self._program
        module.chosen = output
        given = samples.astype(interface.inputs[0].dtype)
        lowered: ExportResult = _load_runtime(runtime).export(module, given, scheme, out_dir)
        return lowered

    def describe_model(self, input_shape: Sequence[int]) -> dict[str, Any]:
        """Its size, as that of a model trained here."""
        from edgeproof.models import model_files

        module, interface = self._program
        if interface.inputs[0].dtype != "float32":
            return {}
        return run_on_external(f"{self.path} can't be run by torch", lambda: model_files.compute_facts(module, input_shape[1:]))  # type: ignore[no-any-return]

    @functools.cached_property
    def _program(self) -> Any:
        return run_on_external(f"{self.path} can't be read by torch", self._load)

    def _load(self) -> Any:
        from edgeproof.artifacts.external import torch_files

        return torch_files.load(self.path)


def open_files(paths: Sequence[Path]) -> list[ExternalFile]:
    """One for each path, with names that differ. Raises ConfigError for what is missing or can't be brought."""
    names = _name_files(paths)
    return [_find_kind(path)(path, name) for path, name in zip(paths, names, strict=True)]


def select_input(interface: ModelInterface, where: str) -> TensorSpec:
    """The only input. Raises ConfigError where there are others."""
    if len(interface.inputs) != 1:
        raise ConfigError(f"{where} has {_list_specs('input', interface.inputs)}: a file with exactly one can be measured.")
    return interface.inputs[0]


def select_output(interface: ModelInterface, name: str | None, where: str) -> int:
    """The place of the output to measure. Raises ConfigError where the choice is not clear."""
    known = [port.name for port in interface.outputs]
    if name in known:
        return known.index(name)
    if name is not None:
        raise ConfigError(f"{where} has no output '{name}': it has {_list_specs('output', interface.outputs)}.")
    if len(known) != 1:
        raise ConfigError(f"{where} has {_list_specs('output', interface.outputs)}: name one with --output.")
    return 0


def run_on_external(failed: str, do: Callable[[], Any]) -> Any:
    """Do what a foreign file may make fail in any way, which becomes one ConfigError that begins with `failed`."""
    with conversion.capture_output():
        try:
            return do()
        except EdgeproofError:
            raise
        except Exception as error:
            told = " ".join(str(error).split())[:MAX_REASON_CHARACTERS]
            raise ConfigError(f"{failed}: {type(error).__name__}: {told}") from None


def _find_kind(path: Path) -> type[ExternalFile]:
    if not path.exists():
        raise ConfigError(f"{path} does not exist.")
    if path.is_dir():
        if (path / SAVED_MODEL).is_file():
            return KerasModel
        raise ConfigError(f"{path} is a directory without {SAVED_MODEL}, so it is no SavedModel.")
    if path.suffix in KERAS_SUFFIXES:
        return KerasModel
    if path.suffix == TORCH_SUFFIX:
        return TorchProgram
    known = {suffix for name in plugins.list_names("runtimes") for suffix in _list_adopted_suffixes(name)}
    if path.suffix in known:
        return RuntimeFile
    kinds = ", ".join(sorted({*known, *KERAS_SUFFIXES, TORCH_SUFFIX}))
    raise ConfigError(f"{path} is of no kind that can be brought: {kinds}, or a SavedModel directory.")


def _name_files(paths: Sequence[Path]) -> list[str]:
    """Names from the files' own; with the suffix where two files would share one."""
    short = [_to_identifier(path.stem if path.suffix else path.name) for path in paths]
    full = [_to_identifier(path.name) for path in paths]
    names = [long if short.count(brief) > 1 else brief for brief, long in zip(short, full, strict=True)]
    for path, name in zip(paths, names, strict=True):
        if not name or names.count(name) > 1:
            raise ConfigError(f"{path} gives no name of its own ('{name}'): rename it, or bring it by itself.")
    return names


def _to_identifier(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _load_runtime(runtime: str) -> ModuleType:
    return plugins.load("runtimes", runtime)


def _list_adopted_suffixes(runtime: str) -> tuple[str, ...]:
    suffixes: tuple[str, ...] = getattr(_load_runtime(runtime), "ADOPTS", ())
    return suffixes


def _list_specs(what: str, ports: Sequence[TensorSpec]) -> str:
    names = ", ".join(f"'{port.name}'" for port in ports)
    return f"{len(ports)} {what}{'' if len(ports) == 1 else 's'} ({names})" if ports else f"no {what}"
