"""The first step at which an error is low enough."""

from cnn_archs.analysis.reach import Reached, reach

LINES = [
    {"step": step, "epoch": step / 100, "top1_error": error}
    for step, error in ((100, 0.5), (200, 0.25), (300, 0.3), (400, 0.1))
]


def test_it_is_the_first_at_or_below_the_level():
    assert reach(LINES, "top1_error", 0.25) == Reached(200, 2.0)
    assert reach(LINES, "top1_error", 0.2) == Reached(400, 4.0)
    assert reach(LINES, "top1_error", 0.05) is None
    assert reach([], "top1_error", 1.0) is None
