"""The first step at which an error is low enough."""

import json

from cnn_archs.analysis.reach import Reached, reach


def log(workdir, *lines, cut=""):
    """lines: step, split, seed, error, and the examples that it is of, else 100."""
    keys = ("step", "split", "seed", "top1_error", "examples")
    entries = [
        {**dict(zip(keys, (*line, 100), strict=False)), "epoch": line[0] / 100} for line in lines
    ]
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    (workdir / "metrics.jsonl").write_text(text + cut)


def test_each_seed_has_its_first_step_at_or_below_the_level(tmp_path):
    log(
        tmp_path,
        *((100, "train", 0, 0.5), (100, "train", 1, 0.4), (100, "test", 0, 0.1)),
        *((200, "train", 0, 0.25), (200, "train", 1, 0.3), (200, "test", 0, 0.2)),
        *((300, "train", 0, 0.3), (300, "train", 1, 0.26)),
        cut='{"step": 400, "split": "train", "seed": 1, "top1_er',
    )
    assert reach(tmp_path, "train.top1_error", 0.25) == {0: Reached(200, 2.0), 1: None}
    assert reach(tmp_path, "train.top1_error", 0.4) == {0: Reached(200, 2.0), 1: Reached(100, 1.0)}
    assert reach(tmp_path, "test.top1_error", 0.2) == {0: Reached(100, 1.0)}
    assert reach(tmp_path, "val.top1_error", 0.2) == {}


def test_a_line_of_few_steps_counts_together_with_the_next(tmp_path):
    few = [(110, "train", 0, 0.1, 10), (200, "train", 0, 0.5, 90), (300, "train", 0, 0.3, 100)]
    log(tmp_path, (100, "train", 0, 0.8), *few)
    assert reach(tmp_path, "train.top1_error", 0.2) == {0: None}
    assert reach(tmp_path, "train.top1_error", 0.4) == {0: Reached(300, 3.0)}
    assert reach(tmp_path, "train.top1_error", 0.46) == {0: Reached(200, 2.0)}


def test_a_run_without_a_log_reached_nothing(tmp_path):
    assert reach(tmp_path, "train.top1_error", 0.25) == {}
