"""Explain why artifact B is less accurate than A: list the layers of B whose outputs differ most from fp32."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.directories import read_meta
from edgeproof.core.errors import ArtifactError, EdgeproofError
from edgeproof.provenance.cell_pairs import CellPair, find_pair
from edgeproof.provenance.cells import CellRecords
from edgeproof.provenance.layer_noise import LayerNoise, NoiseReport, measure_noise
from edgeproof.provenance.lineage import require_artifact
from edgeproof.provenance.scheme_advice import suggest_more_accurate
from edgeproof.report.text_table import format_text_table

Array = np.ndarray[Any, Any]

REFERENCE = "fp32"
MAX_SHOWN = 12


def explain_less_accurate(a: str, b: str, root: Path) -> str:
    """Return why cell `b` is less accurate than cell `a`, from the tensors of their files on this machine.

    Raises EdgeproofError if the cells are not two artifacts of one model, B is the reference, or a file is missing.
    """
    pair = find_pair(a, b, root)
    if pair.b.address.scheme == REFERENCE:
        raise EdgeproofError(
            f"{pair.b.address} is {REFERENCE} itself, the reference of the comparison. Name a quantized artifact as B."
        )
    report = _measure(pair.b, root)
    other = None if pair.a.address.scheme == REFERENCE else _measure(pair.a, root)
    lines = pair.describe("quality")
    lines += _describe_verdict(pair)
    return "\n".join([*lines, "", *_describe_layers(report, other), "", *_describe_worst(report, pair)])


def _measure(cell: CellRecords, root: Path) -> NoiseReport:
    """Measure the noise of an artifact's layers on the samples stored beside it."""
    artifact = require_artifact(cell, root)
    runtime = plugins.load("runtimes", cell.address.runtime)
    if not hasattr(runtime, "open_layers"):
        raise EdgeproofError(f"the {cell.address.runtime} runtime gives no access to the tensors between layers.")
    reference = _find_reference(artifact)
    samples = [np.load(path, allow_pickle=False) for path in _list_samples(artifact)]
    return measure_noise(runtime.open_layers(reference), runtime.open_layers(artifact), samples)


def _find_reference(artifact: Path) -> Path:
    """Return the directory of the fp32 artifact of the same model. Raises EdgeproofError if it is missing."""
    path = artifact.with_name(artifact.name.replace(read_meta(artifact)["scheme"], REFERENCE, 1))
    try:
        reference = read_meta(path)
    except ArtifactError as error:
        raise EdgeproofError(
            f"the {REFERENCE} artifact that layers are compared with is missing: {error} "
            f"The study must list {REFERENCE} among the model's schemes."
        ) from None
    if "unsupported" in reference or reference["model"].get("sha256") != read_meta(artifact)["model"].get("sha256"):
        raise EdgeproofError(
            f"{path} is of another build of the model, or is not supported by the runtime. Build it with 'dvc repro'."
        )
    return path


def _list_samples(artifact: Path) -> list[Path]:
    """Return the files of the samples, one for each input."""
    count = len(read_meta(artifact)["inputs"])
    return [artifact / (f"samples_{number}.npy" if number else "samples.npy") for number in range(count)]


def _describe_verdict(pair: CellPair) -> list[str]:
    """Return a remark if the records do not show that B is less accurate."""
    a, b, metric = pair.row_a.quality, pair.row_b.quality, pair.row_b.metric
    if a is None or b is None or metric is None:
        return ["The records have no valid quality for one of the two artifacts."]
    if metric.is_better(a.value, b.value):
        return []
    return ["B is not less accurate than A in these records. Its layers are:"]


def _describe_layers(report: NoiseReport, other: NoiseReport | None) -> list[str]:
    """Return the layers of B with the most noise of their own, beside the same layers of A."""
    theirs: Mapping[str, LayerNoise] = {layer.name: layer for layer in (() if other is None else other.layers)}
    headings = ["layer of B", "kind", "own, dB", "cumulative, dB"]
    headings += ["A own, dB", "A cumulative, dB"] if other is not None else []
    rows = []
    for layer in report.sort_by_own()[:MAX_SHOWN]:
        cells = [layer.name, layer.kind, _format_db(layer.own_db), _format_db(layer.cumulative_db)]
        match = theirs.get(layer.name)
        if other is not None:
            cells += ["–", "–"] if match is None else [_format_db(match.own_db), _format_db(match.cumulative_db)]
        rows.append(cells)
    more = len(report.layers) - len(rows)
    return [
        f"Signal-to-noise ratio of each layer's output against {REFERENCE}, worst first. At 20 dB the noise is 10% of "
        "the signal, at 40 dB 1%.",
        "'own' is the layer alone on the inputs of fp32. 'cumulative' has the noise of all layers before it too.",
        *format_text_table(headings, rows),
        *([f"{more} more layers have less noise of their own."] if more else []),
        *_describe_unmatched(report),
    ]


def _describe_unmatched(report: NoiseReport) -> list[str]:
    if not report.unmatched:
        return []
    names = ", ".join(report.unmatched[:MAX_SHOWN]) + (", …" if len(report.unmatched) > MAX_SHOWN else "")
    return [
        f"Not matched: {len(report.unmatched)} tensors of fp32 have no counterpart of the same name in B ({names}). "
        "The quantizer fused or renamed them. Their noise is in the next layer that matches."
    ]


def _describe_worst(report: NoiseReport, pair: CellPair) -> list[str]:
    """Return the layer with the most noise, the noise of the output, and the schemes to try."""
    if not report.layers:
        return ["No tensor of B has the same name as a tensor of fp32, so no layer can be compared."]
    worst, last = report.sort_by_own()[0], report.layers[-1]
    lines = [
        f"{worst.kind} '{worst.name}' adds the most noise of its own: {_format_db(worst.own_db)} dB, which is "
        f"{_format_share(worst.own_db)} of its signal. The last layer '{last.name}' has "
        f"{_format_db(last.cumulative_db)} dB after all layers."
    ]
    options = suggest_more_accurate(pair.b.address.runtime, pair.b.address.scheme)
    return lines + [f"Try {name}: {text}." for name, text in options.items()]


def _format_db(value: float) -> str:
    return "exact" if value == math.inf else "no signal" if value == -math.inf else f"{value:.1f}"


def _format_share(value_db: float) -> str:
    """Return the amplitude of the noise as a share of the signal's."""
    return (
        f"{10 ** (-value_db / 20):.1%}" if math.isfinite(value_db) else "nothing" if value_db > 0 else "more than all"
    )
