"""The runs that measured qualities, and differences between two of them on the same units.

A proportion is compared by the units that only one of two artifacts gets right, which a line of the store has. Any
other quality is compared by a paired bootstrap over the evidence, which is read from the record when it is needed.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from edgeproof.core import plugins
from edgeproof.core.errors import DataError
from edgeproof.records import record_files
from edgeproof.records.columns import StoreLine
from edgeproof.statistics import bootstrap, proportions
from edgeproof.statistics.bootstrap import PairedDifference
from edgeproof.statistics.estimates import Array, Estimate
from edgeproof.statistics.metric import Compute, Evidence, Metric


@dataclass(frozen=True)
class QualityRun:
    """The valid run that measured an artifact's quality.

    Attributes:
        metric_name, metric: the metric and its description.
        value: the quality in natural units.
        units: number of resampling units.
        directory: where the record lies.
        hits: for a proportion, whether each unit is right, (N,) bool; None for other metrics.
    """

    metric_name: str
    metric: Metric
    value: float
    units: int
    directory: Path
    hits: Array | None

    @functools.cached_property
    def evidence(self) -> Evidence:
        """The arrays that the quality is computed from. Raises ArtifactError if the record is missing or damaged."""
        return record_files.read(self.directory).load_evidence()

    @functools.cached_property
    def resampled(self) -> Array:
        """The quality of each resample of the evidence, which takes long: every comparison shares it."""
        compute: Compute = plugins.load("metrics", self.metric_name).compute
        return bootstrap.resample_quality(compute, self.evidence)

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of the evidence. Engines with equal answers have equal evidence."""
        sha256 = hashlib.sha256()
        for name in sorted(self.evidence):
            array = self.evidence[name]
            sha256.update(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
        return sha256.hexdigest()

    def is_comparable(self, other: QualityRun) -> bool:
        """Return whether the other run measured the same metric on as many units."""
        return (self.metric_name, self.units) == (other.metric_name, other.units)


def make_quality_run(line: StoreLine | None) -> QualityRun | None:
    """Return the quality run of a record in the store, or None for a record without a quality."""
    if line is None or line.metric is None or line.metric_json is None or line.quality is None:
        return None
    metric = Metric.from_json(json.loads(line.metric_json))
    return QualityRun(line.metric, metric, line.quality, line.quality_units or 0, Path(line.path), line.unpack_hits())


def estimate_difference(run: QualityRun, reference: QualityRun) -> Estimate | None:
    """Return the quality of a run minus that of the reference, with its paired interval.

    It is None for runs that do not compare, and where the metric is undefined in most resamples.
    """
    if not run.is_comparable(reference):
        return None
    if run.hits is not None and reference.hits is not None:
        return proportions.estimate_paired_difference(run.hits, reference.hits)
    difference = compare_evidence(run, reference)
    return None if difference is None else difference.estimate


def compare_evidence(run: QualityRun, reference: QualityRun) -> PairedDifference | None:
    """Return the difference of two comparable runs by a paired bootstrap.

    It is None where the metric is undefined in most resamples.
    """
    if run.digest == reference.digest:
        return PairedDifference(Estimate(0.0, 0.0, 0.0), 1.0)
    try:
        return bootstrap.compare_resampled(run.value - reference.value, run.resampled, reference.resampled)
    except DataError:
        return None
