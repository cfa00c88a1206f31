"""Intervals and tests for the difference of two networks, each trained with several seeds."""

import statistics
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scipy import stats

LEVEL = 0.05  # significance level of Welch's test; the intervals have 1 - LEVEL confidence


class Welch(NamedTuple):
    """The result of Welch's test.

    difference: of the means. p: the probability of a difference at least this large if the means
    were equal.
    """

    difference: float
    p: float


class Interval(NamedTuple):
    """A difference of means with its 95 % confidence interval from `low` to `high`.

    low and high are None if a network has a single seed. kind: `paired` or `Welch`. seeds: the
    number of seeds of each network.
    """

    difference: float
    low: float | None
    high: float | None
    kind: str
    seeds: tuple[int, int]

    @property
    def excludes_zero(self) -> bool:
        """Return True if 0 lies outside the interval."""
        return self.low is not None and self.high is not None and self.low * self.high > 0


def standard_deviation(sample: Sequence[float]) -> float:
    """Return the standard deviation of a sample, with n - 1 in the denominator."""
    return statistics.stdev(sample)


def difference_interval(a: Mapping[int, float], b: Mapping[int, float]) -> Interval:
    """Compare the means of `a` and `b`, each {seed: value}: the difference is a's minus b's.

    The interval is paired if both have the same seeds: networks of one seed see their images in the
    same order, so part of the randomness cancels. Otherwise it is Welch's.
    """
    paired, seeds = a.keys() == b.keys(), (len(a), len(b))
    kind = "paired" if paired else "Welch"
    left, right = list(a.values()), [b[seed] for seed in a] if paired else list(b.values())
    difference = statistics.fmean(left) - statistics.fmean(right)
    if min(seeds) < 2:
        return Interval(difference, None, None, kind, seeds)
    spread = [[x - y for x, y in zip(left, right, strict=True)]] if paired else [left, right]
    if all(map(is_constant, spread)):
        return Interval(difference, difference, difference, kind, seeds)
    low, high = t_test(left, right, paired=paired).confidence_interval(1 - LEVEL)
    return Interval(difference, float(low), float(high), kind, seeds)


def welch_test(a: Sequence[float], b: Sequence[float]) -> Welch:
    """Apply Welch's one-sided test that the mean of `a` is above that of `b`.

    Each sample must have two values or more.
    """
    difference = statistics.fmean(a) - statistics.fmean(b)
    if is_constant(a) and is_constant(b):
        return Welch(difference, 0.0 if difference > 0 else 1.0)
    return Welch(difference, float(t_test(a, b, alternative="greater").pvalue))


def t_test(a: Sequence[float], b: Sequence[float], paired: bool = False, **options: Any) -> Any:
    """Call scipy's paired t-test or Welch's, without a warning for a sample that is constant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
        if paired:
            return stats.ttest_rel(a, b, **options)
        return stats.ttest_ind(a, b, equal_var=False, **options)


def is_constant(sample: Sequence[float]) -> bool:
    """Return whether all values are equal, up to rounding."""
    return max(sample) - min(sample) <= 1e-12 * max(map(abs, sample))
