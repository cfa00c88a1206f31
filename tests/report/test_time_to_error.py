"""The first step at which an error is low enough."""

from cnn_archs.report.time_to_error import Reached, time_to_error


def lines(*rows):
    keys = ("step", "top1_error", "examples")
    return [{**dict(zip(keys, row, strict=True)), "epoch": row[0] / 100} for row in rows]


LINES = lines((100, 0.5, 10), (200, 0.25, 10), (300, 0.3, 10), (400, 0.1, 10))


def test_it_is_the_first_at_or_below_the_level():
    assert time_to_error(LINES, "top1_error", 0.25) == Reached(200, 2.0)
    assert time_to_error(LINES, "top1_error", 0.2) == Reached(400, 4.0)
    assert time_to_error(LINES, "top1_error", 0.05) is None
    assert time_to_error([], "top1_error", 1.0) is None


def test_a_line_of_few_examples_counts_with_the_next():
    short = lines((100, 0.5, 10), (110, 0.0, 1), (200, 0.44, 10), (300, 0.2, 10))
    assert time_to_error(short, "top1_error", 0.4) == Reached(200, 2.0)  # (0 + 4.4) / 11
    assert time_to_error(short, "top1_error", 0.3) == Reached(300, 3.0)
