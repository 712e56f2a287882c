"""Paired differences: those of means follow the normal theory, and equal evidence has none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edgeproof.core.errors import DataError
from edgeproof.statistics.bootstrap import PairedDifference, compare_resampled, resample_quality
from edgeproof.statistics.metric import Evidence


def compute_mean(evidence: Evidence) -> float:
    return float(evidence["value"].mean())


def compute_rare(evidence: Evidence) -> float:
    """Return a quality that only evidence with its first unit has."""
    if not (evidence["value"] == 0).any():
        raise DataError("no positive sample")
    return 1.0


def compare_means(one: Evidence, two: Evidence) -> PairedDifference:
    resampled = (resample_quality(compute_mean, evidence) for evidence in (one, two))
    return compare_resampled(compute_mean(one) - compute_mean(two), *resampled)


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.3])
def test_the_difference_of_two_means_is_that_of_the_normal_theory(shift: float) -> None:
    rng = np.random.default_rng(0)
    common, noise = rng.normal(0, 5, 2000), rng.normal(shift, 1, 2000)
    difference = compare_means({"value": common + noise}, {"value": common})
    # With 1,000 resamples the ends of an interval have a standard deviation of 0.085 standard errors.
    error = noise.std(ddof=1) / np.sqrt(len(noise))
    assert difference.estimate.value == pytest.approx(noise.mean())
    assert difference.estimate.low == pytest.approx(noise.mean() - 1.96 * error, abs=0.3 * error)
    assert difference.estimate.high == pytest.approx(noise.mean() + 1.96 * error, abs=0.3 * error)
    expected = stats.ttest_rel(common + noise, common).pvalue
    assert stats.norm.isf(difference.p_value / 2) == pytest.approx(stats.norm.isf(expected / 2), rel=0.1)


def test_equal_evidence_has_no_difference() -> None:
    evidence = {"value": np.arange(50.0)}
    difference = compare_means(evidence, evidence)
    assert (difference.estimate.value, difference.estimate.low, difference.estimate.high) == (0, 0, 0)
    assert difference.p_value == 1.0


def test_a_quality_that_most_resamples_lack_has_no_difference() -> None:
    # A unit is in a resample with the probability 1 − 1/e, so in most; two qualities need it at the same rows.
    resampled = resample_quality(compute_rare, {"value": np.arange(100.0)})
    assert np.isnan(resampled).mean() == pytest.approx(np.exp(-1), abs=0.05)
    with pytest.raises(DataError, match="undefined in 1000 of 1000 resamples"):
        compare_resampled(0.0, resampled, np.full(1000, np.nan))
