"""Student's distribution, tests and intervals, against scipy's."""

import math

import numpy as np
import pytest
from scipy import stats

from cnn_archs.analysis import intervals


@pytest.mark.parametrize("freedom", [1.0, 2.0, 3.7, 8.0, 60.0, 200.0])
@pytest.mark.parametrize("t", [-5.0, -0.3, 0.0, 1.0, 2.5, 30.0])
def test_the_tail_of_student_s_distribution(t, freedom):
    assert math.isclose(intervals.student_tail(t, freedom), stats.t.sf(t, freedom), abs_tol=1e-9)


def test_welch_and_deviation_are_scipy_s():
    rng = np.random.default_rng(0)
    for n, m in ((2, 3), (5, 5), (20, 7)):
        a, b = rng.normal(0.3, 1.0, n).tolist(), rng.normal(0.0, 2.0, m).tolist()
        expected = stats.ttest_ind(a, b, equal_var=False, alternative="greater")
        assert math.isclose(intervals.welch(a, b).p, expected.pvalue, abs_tol=1e-9)
        assert math.isclose(intervals.deviation(a), stats.tstd(a))


@pytest.mark.parametrize("freedom", [1.0, 1.3, 2.0, 4.0, 9.7, 60.0])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.975, 0.995])
def test_the_quantile_of_student_s_distribution(p, freedom):
    expected = stats.t.ppf(p, freedom)
    assert math.isclose(intervals.student_quantile(p, freedom), expected, abs_tol=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_with_the_same_seeds_the_interval_is_paired(n):
    rng = np.random.default_rng(n)
    common = rng.normal(0.0, 5.0, n)
    a, b = (dict(enumerate(common + rng.normal(m, 1.0, n))) for m in (1.0, 0.0))
    found = intervals.interval(a, {seed: b[seed] for seed in reversed(range(n))})
    expected = stats.ttest_rel(list(a.values()), list(b.values())).confidence_interval(0.95)
    assert (found.kind, found.seeds) == ("paired", (n, n))
    assert np.allclose([found.low, found.high], [expected.low, expected.high], rtol=1e-6)
    assert math.isclose(found.difference, np.mean(list(a.values())) - np.mean(list(b.values())))


@pytest.mark.parametrize("n, m", [(2, 3), (3, 5), (5, 5), (20, 7)])
def test_with_other_seeds_it_is_welch_s(n, m):
    rng = np.random.default_rng(n)
    a, b = rng.normal(1.0, 1.0, n), rng.normal(0.0, 3.0, m)
    found = intervals.interval(dict(enumerate(a)), dict(enumerate(b, start=1)))
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (found.kind, found.seeds) == ("Welch", (n, m))
    assert np.allclose([found.low, found.high], [expected.low, expected.high], rtol=1e-6)


def test_it_is_sure_where_0_is_outside():
    assert intervals.interval({0: 1.0, 1: 1.1}, {0: 0.5, 1: 0.61}).sure
    assert intervals.interval({0: 0.5, 1: 0.61}, {0: 1.0, 1: 1.1}).sure
    assert not intervals.interval({0: 1.0, 1: 0.0}, {0: 0.5, 1: 0.4}).sure


def test_one_seed_has_no_interval():
    for b in ({0: 0.5}, {1: 0.5}, {0: 0.5, 1: 0.6}):
        found = intervals.interval({0: 1.0}, b)
        assert found.difference > 0.4 and found.low is found.high is None and not found.sure


def test_without_any_spread_it_is_a_point():
    found = intervals.interval({0: 1.0, 1: 1.0}, {0: 0.5, 1: 0.5})
    assert (found.low, found.high, found.sure) == (0.5, 0.5, True)
    assert not intervals.interval({0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0}).sure
