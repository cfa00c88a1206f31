"""Augmentation lifts the accuracy of the shapes experiment on the challenge."""

import json

import numpy as np
import pytest
from pages import ROOT, page
from scipy import stats

from cnn_archs import cli
from cnn_archs.report import text

RESULTS = ROOT / "results" / "shapes"


def lift(plain, augmented):
    """(mean, low end of the 95 % interval) of augmented - plain accuracy: Welch's."""
    a, b = (1 - np.array(r["challenge"]["top1_error"]) for r in (augmented, plain))
    assert len(a) == len(b) == 5
    return a.mean() - b.mean(), stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95).low


def test_the_committed_runs_show_it():
    runs = [json.loads((RESULTS / f"{v}.json").read_text()) for v in ("plain", "augmented")]
    mean, low = lift(*runs)
    assert mean >= 0.1 and low > 0
    assert all(r["made"]["config"]["data"]["name"] == "shapes" for r in runs)
    assert [r["made"]["config"]["augment"]["name"] for r in runs] == ["none", "generator"]
    assert runs[0]["steps"] == runs[1]["steps"]
    accuracies = [[1 - e for e in r["challenge"]["top1_error"]] for r in runs]
    said = " to ".join(text.mean_sd(a) for a in accuracies)
    assert f"from {said} %" in page("experiments")


@pytest.mark.slow
def test_it_shows_again(tmp_path, capsys):
    found = []
    for variant in ("plain", "augmented"):
        workdir = tmp_path / variant
        assert cli.main(["train", f"--config=shapes:{variant}", f"--workdir={workdir}"]) == 0
        capsys.readouterr()
        evaluate = ["evaluate", f"--workdir={workdir}", "--split=challenge", "--format=json"]
        assert cli.main(evaluate) == 0
        found.append(json.loads(capsys.readouterr().out))
    mean, low = lift(*found)
    assert mean >= 0.1 and low > 0
