"""Tests for the statistics of several seeds, against published values.

SLEEP is the data with which Student (1908) introduced his test: hours of sleep that ten patients
gained with each of two drugs. R's documentation has it as `sleep`, with the output of `t.test`:
Welch: t = -1.8608, df = 17.776, p = 0.07939, interval -3.3654832 to 0.2054832;
paired: t = -4.0621, df = 9, p = 0.002833, interval -2.4598858 to -0.7001142.
"""

import math

import pytest

from cnn_archs.report import statistics

SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)


def seeded(values, first=0):
    return dict(enumerate(values, start=first))


def test_students_sleep_data_paired():
    found = statistics.difference_interval(seeded(SLEEP[0]), seeded(SLEEP[1]))
    assert (found.kind, found.seeds) == ("paired", (10, 10))
    assert math.isclose(found.difference, 0.75 - 2.33)
    assert found.low is not None and found.high is not None
    assert math.isclose(found.low, -2.4598858, abs_tol=1e-7)
    assert math.isclose(found.high, -0.7001142, abs_tol=1e-7)
    assert found.excludes_zero


def test_students_sleep_data_with_other_seeds_is_welchs():
    found = statistics.difference_interval(seeded(SLEEP[0]), seeded(SLEEP[1], first=1))
    assert (found.kind, found.seeds) == ("Welch", (10, 10))
    assert found.low is not None and found.high is not None
    assert math.isclose(found.low, -3.3654832, abs_tol=1e-7)
    assert math.isclose(found.high, 0.2054832, abs_tol=1e-7)
    assert not found.excludes_zero


def test_pairs_are_made_by_seed_not_by_place():
    a, b = map(seeded, SLEEP)
    reordered = {seed: b[seed] for seed in reversed(b)}
    expected = statistics.difference_interval(a, b)
    assert statistics.difference_interval(a, reordered) == expected


def test_welchs_one_sided_p_is_half_of_the_published_two_sided_one():
    found = statistics.welch_test(SLEEP[1], SLEEP[0])
    assert math.isclose(found.difference, 1.58)
    assert math.isclose(found.p, 0.07939 / 2, abs_tol=1e-5)
    assert math.isclose(statistics.welch_test(*SLEEP).p, 1 - 0.07939 / 2, abs_tol=1e-5)


# Quantiles for 97.5 % in any printed table of Student's distribution: 1, 2, 4 degrees of freedom.
@pytest.mark.parametrize("n, quantile", [(2, 12.706), (3, 4.303), (5, 2.776)])
def test_the_interval_has_the_tabulated_quantile(n, quantile):
    a = [float(k) for k in range(n)]  # its differences from b have mean (n - 1) / 2
    error = math.sqrt(n * (n + 1) / 12 / n)  # variance of 0, ..., n - 1 is n (n + 1) / 12
    found = statistics.difference_interval(seeded(a), seeded([0.0] * n))
    assert found.low is not None and found.high is not None
    assert math.isclose(found.high - found.difference, quantile * error, rel_tol=2e-4)
    assert math.isclose(found.difference - found.low, quantile * error, rel_tol=2e-4)


def test_standard_deviation_divides_by_n_less_1():
    assert math.isclose(statistics.standard_deviation([2, 4, 4, 4, 5, 5, 7, 9]), math.sqrt(32 / 7))


def test_it_excludes_zero_on_either_side():
    assert statistics.difference_interval({0: 1.0, 1: 1.1}, {0: 0.5, 1: 0.61}).excludes_zero
    assert statistics.difference_interval({0: 0.5, 1: 0.61}, {0: 1.0, 1: 1.1}).excludes_zero
    assert not statistics.difference_interval({0: 1.0, 1: 0.0}, {0: 0.5, 1: 0.4}).excludes_zero


def test_one_seed_has_no_interval():
    for b in ({0: 0.5}, {1: 0.5}, {0: 0.5, 1: 0.6}):
        found = statistics.difference_interval({0: 1.0}, b)
        assert found.difference > 0.4 and found.low is found.high is None
        assert not found.excludes_zero


def test_without_any_spread_it_is_a_point():
    found = statistics.difference_interval({0: 1.0, 1: 1.0}, {0: 0.5, 1: 0.5})
    assert (found.low, found.high, found.excludes_zero) == (0.5, 0.5, True)
    same = statistics.difference_interval({0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0})
    assert (same.low, same.high, same.excludes_zero) == (0.0, 0.0, False)
    assert statistics.welch_test([0.2, 0.2], [0.1, 0.1]).p == 0.0
    assert statistics.welch_test([0.1, 0.1], [0.1, 0.1]).p == 1.0


def test_one_constant_sample_is_no_fault():
    """Three seeds with the same error are common, and no warning is printed for them."""
    found = statistics.difference_interval({0: 0.1, 1: 0.1, 2: 0.1}, {3: 0.3, 4: 0.4, 5: 0.5})
    # Only the second sample varies: Student's quantile for 2 degrees of freedom, 0.1 / sqrt(3).
    assert found.low is not None and found.high is not None
    assert math.isclose(found.high - found.low, 2 * 4.303 * 0.1 / math.sqrt(3), rel_tol=2e-4)
    assert 0 < statistics.welch_test([0.3, 0.4, 0.5], [0.1] * 3).p < 0.05


def test_a_difference_that_only_rounding_spreads_is_a_point():
    a, b = {0: 0.3, 1: 0.7, 2: 1.1}, {0: 0.2, 1: 0.6, 2: 1.0}
    found = statistics.difference_interval(a, b)
    assert found.low == found.high == found.difference and math.isclose(found.low, 0.1)
