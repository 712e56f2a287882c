"""Figures of a candidate before anything is trained: build the network, remove its channels, count, and export it.

Counts do not depend on the values of weights, and the size of a file hardly does. Candidates are examined in a process
of its own, because a converter may end its process on a network that it can't take.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from edgeproof.config.params import ExportParams, Params
from edgeproof.core import plugins, processes
from edgeproof.core.described_tasks import load_task
from edgeproof.core.directories import write_json
from edgeproof.core.errors import ConfigError, EdgeproofError, Unsupported
from edgeproof.core.ports import Port
from edgeproof.paths import DATA

CALIBRATION_SAMPLES = 8


@dataclass(frozen=True)
class Untrained:
    """Everything that decides a candidate's size: the network, the methods after its training, and the export.

    Attributes:
        steps: name and options of each method that is applied to the trained network.
    """

    network: str
    network_options: Mapping[str, Any]
    steps: tuple[tuple[str, Mapping[str, Any]], ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    export: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """The name of its figures in proxies.json."""
        content = {**asdict(self), "inputs": [port.to_json() for port in self.inputs]}
        content["outputs"] = [port.to_json() for port in self.outputs]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Proxies:
    """Figures of an untrained candidate. `size_bytes` is None if it was not exported, and `reason` says why."""

    parameters: int
    macs: int
    size_bytes: int | None = None
    reason: str = ""

    def compute_excesses(self, limits: Mapping[str, float]) -> dict[str, float]:
        """Return, for each limit that is exceeded, by which share of it."""
        figures = {name: getattr(self, name) for name in limits}
        return {
            name: figures[name] / limit - 1
            for name, limit in limits.items()
            if figures[name] is not None and figures[name] > limit
        }


_PROXIES = TypeAdapter(dict[str, Proxies])


def describe_untrained(params: Params) -> Untrained:
    """Return what decides the size of a study's only final model. Raises ConfigError unless there is exactly one."""
    exports = [item for item in params.export.values() if item.model in params.report.final]
    if len(exports) != 1:
        raise ConfigError(
            f"a search measures one artifact, and the study has {len(exports)} final ones. Choose one runtime, such as "
            "bench.runtimes=[onnx]."
        )
    (item,) = exports
    steps: list[tuple[str, Mapping[str, Any]]] = []
    model = params.find_model(item.model)
    while model.parent is not None:
        steps.insert(0, (model.method, model.options))
        model = params.find_model(model.parent)
    task = load_task(params.task.name, DATA / params.task.name)
    return Untrained(
        network=model.network,
        network_options=model.network_options,
        steps=tuple(steps),
        inputs=tuple(task.INPUTS),
        outputs=tuple(task.OUTPUTS),
        export=item.model_dump(),
    )


class Examiner:
    """Examines candidates in a child process, and keeps their figures in a file.

    Use it as a context, which ends the process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known = _PROXIES.validate_json(path.read_bytes())
        except (OSError, ValueError):
            self._known = {}
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Examiner:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, untrained: Untrained, limits: Mapping[str, float]) -> Proxies:
        """Return a candidate's figures. It is exported only if its counts are within the limits."""
        known = self._known.get(untrained.digest)
        is_known = known is not None and (known.size_bytes is not None or known.reason)
        if known is None or not (is_known or known.compute_excesses(limits)):
            known = self._known[untrained.digest] = self._examine(untrained, limits)
            write_json(self._path, {digest: asdict(proxies) for digest, proxies in sorted(self._known.items())})
        return known

    def _examine(self, untrained: Untrained, limits: Mapping[str, float]) -> Proxies:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, context, _prepare_process)
        try:
            return self._pool.submit(examine, untrained, dict(limits)).result()
        except BrokenProcessPool:
            self._pool = None
            return Proxies(0, 0, None, "the converter ended its process on this network")


def examine(untrained: Untrained, limits: Mapping[str, float]) -> Proxies:
    """Build a candidate with random weights and count, then export it if the counts are within the limits."""
    from edgeproof.models import frameworks

    try:
        module = build_untrained(untrained)
    except ConfigError as error:
        return Proxies(0, 0, None, " ".join(str(error).split()))
    facts = frameworks.compute_facts(module, untrained.inputs)
    proxies = Proxies(facts.parameters, facts.macs)
    if proxies.compute_excesses({name: limit for name, limit in limits.items() if name != "size_bytes"}):
        return proxies
    try:
        return replace(proxies, size_bytes=_measure_export(untrained, module))
    except EdgeproofError as error:
        return replace(proxies, reason=" ".join(str(error).split()))


def build_untrained(untrained: Untrained) -> Any:
    """Build a network with random weights, and apply the methods that change its shape without any training.

    Raises ConfigError if the network or a method cannot take its input.
    """
    from edgeproof.models import frameworks, model_files
    from edgeproof.models.training_task import make_examples

    item = ExportParams.model_validate(untrained.export)
    frameworks.make_deterministic(untrained.network, item.seeds[0], item.threads)
    spec = model_files.NetworkSpec(untrained.network, untrained.network_options, untrained.inputs, untrained.outputs)
    try:
        module = spec.build()
        module.eval()(*make_examples(untrained.inputs, 1))
    except ConfigError:
        raise
    except Exception as error:  # a network that was written for other inputs
        raise ConfigError(f"network '{untrained.network}' does not take the task's inputs ({error})") from error
    _randomize(module)
    task = _make_empty_task(untrained, item.threads)
    for method, options in untrained.steps:
        module = plugins.load("methods", method).apply(module, task, **{**options, "epochs": 0})
    return module.eval()


def _randomize(module: Any) -> None:
    """Add small random numbers to all tensors. Equal tensors, such as biases of zero, would be stored only once."""
    import torch

    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))


def _make_empty_task(untrained: Untrained, threads: int) -> Any:
    """Return a task without samples, which a method needs for its inputs and outputs."""
    import torch

    from edgeproof.models.training_task import Split, TrainingTask, make_examples
    from edgeproof.statistics.metric import ACCURACY

    nothing = Split(make_examples(untrained.inputs, 0), torch.zeros(0))
    return TrainingTask(
        name="untrained", inputs=untrained.inputs, outputs=untrained.outputs, train=nothing, validation=nothing,
        metric=ACCURACY, measure=lambda inputs, outputs, targets: 0.0, seed=0, threads=threads,
    )  # fmt: skip


def _measure_export(untrained: Untrained, module: Any) -> int:
    """Return the size of the candidate's files. Raises Unsupported, and EdgeproofError if the converter fails."""
    from edgeproof.artifacts import conversion, stripping

    item = ExportParams.model_validate(untrained.export)
    runtime, scheme = plugins.load("runtimes", item.runtime), item.schemes[0]
    samples = tuple(_draw_samples(port, item.seeds[0]) for port in untrained.inputs)
    with tempfile.TemporaryDirectory() as scratch:
        full, stripped = Path(scratch, "full"), Path(scratch, "stripped")
        full.mkdir()
        stripped.mkdir()
        task = f"exporting an untrained {untrained.network} to {item.runtime} as {scheme}"
        outcome = conversion.run_converter(
            task, lambda: conversion.export_module(item.runtime, module, samples, scheme, full)
        )
        if isinstance(outcome, Unsupported):
            raise outcome
        size_bytes = stripping.measure_bytes(full)
        if item.strip and hasattr(runtime, "strip"):
            runtime.strip(full, stripped)
            size_bytes = min(size_bytes, stripping.measure_bytes(stripped))
    return size_bytes


def _draw_samples(port: Port, seed: int) -> Any:
    """Return random samples of an input, which calibrate the quantization of an untrained network."""
    import numpy as np

    random = np.random.default_rng(seed)
    shape = (CALIBRATION_SAMPLES, *port.shape)
    if port.dtype == "float32":
        return random.standard_normal(shape, np.float32)
    return random.integers(0, 2, shape).astype(port.dtype)


def _prepare_process() -> None:
    processes.die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it too
