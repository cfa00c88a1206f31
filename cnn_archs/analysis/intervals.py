"""Statistics of two networks, each trained with several seeds: is one's error above the other's?"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LEVEL = 0.05  # of the test that one network's error is above another's


class Welch(NamedTuple):
    """difference: of the means; p: of one so large or larger, were the means the same."""

    difference: float
    p: float


class Interval(NamedTuple):
    """Of a difference of means: from low to high with 95 % confidence; None without two seeds.

    kind: `paired` over `seeds` seeds that both have, else `Welch`.
    """

    difference: float
    low: float | None
    high: float | None
    kind: str
    seeds: tuple[int, int]

    @property
    def sure(self) -> bool:
        """Is 0 outside of it?"""
        return self.low is not None and self.high is not None and self.low * self.high > 0


def deviation(sample: Sequence[float]) -> float:
    """Standard deviation, with n - 1."""
    return statistics.stdev(sample)


def interval(a: Mapping[int, float], b: Mapping[int, float]) -> Interval:
    """Of the mean of `a` less that of `b`, each {seed: value}: paired if their seeds are the same.

    Networks of one seed see their images in the same order, so that some of the chance cancels.
    """
    seeds = (len(a), len(b))
    if a.keys() == b.keys():
        away = [a[seed] - b[seed] for seed in a]
        if len(away) < 2:
            return Interval(statistics.fmean(away), None, None, "paired", seeds)
        spread = math.sqrt(statistics.variance(away) / len(away))
        return around(statistics.fmean(away), spread, len(away) - 1, "paired", seeds)
    difference = statistics.fmean(a.values()) - statistics.fmean(b.values())
    if min(seeds) < 2:
        return Interval(difference, None, None, "Welch", seeds)
    spread, freedom = unequal(list(a.values()), list(b.values()))
    return around(difference, spread, freedom, "Welch", seeds)


def around(
    difference: float, spread: float, freedom: float, kind: str, seeds: tuple[int, int]
) -> Interval:
    """The interval, of `spread`, the standard error, with so many degrees of freedom."""
    half = student_quantile(1 - LEVEL / 2, freedom) * spread if spread else 0.0
    return Interval(difference, difference - half, difference + half, kind, seeds)


def welch(a: Sequence[float], b: Sequence[float]) -> Welch:
    """Welch's test that the mean of `a` is above that of `b`; each of two values or more."""
    difference = statistics.fmean(a) - statistics.fmean(b)
    spread, freedom = unequal(a, b)
    if spread == 0.0:
        return Welch(difference, 0.0 if difference > 0 else 1.0)
    return Welch(difference, student_tail(difference / spread, freedom))


def unequal(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Standard error of a difference of means, variances unlike, and its degrees of freedom."""
    u, v = (statistics.variance(x) / len(x) for x in (a, b))
    if u + v == 0.0:
        return 0.0, math.inf
    return math.sqrt(u + v), (u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1))


def student_tail(t: float, freedom: float, parts: int = 2000) -> float:
    """P(T > t) of Student's distribution, to 1e-9 for 1 to 200 degrees of freedom.

    With t = sqrt(freedom) tan(x) its density is proportional to cos(x)^(freedom - 1): Simpson's
    rule over that, from 0 on.
    """
    end = math.atan(t / math.sqrt(freedom))
    width = end / parts
    weights = [1, *(4 if i % 2 else 2 for i in range(1, parts)), 1]
    total = sum(w * math.cos(i * width) ** (freedom - 1) for i, w in enumerate(weights))
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    return 0.5 - scale / math.sqrt(math.pi) * total * width / 3


def student_quantile(p: float, freedom: float) -> float:
    """t with P(T < t) = p, for p of 0.5 to 0.999, by halving."""
    low, high = 0.0, 1e3
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, freedom) > 1 - p else (low, middle)
    return (low + high) / 2
