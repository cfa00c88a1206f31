"""The methods that are no networks: each against a second computation, on drawn vectors or digits.

A row of figure 9 leaves a result file that a claim accepts, and a changed one does not count.
"""

import json
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from cnn_archs import cli
from cnn_archs.claims import evidence
from cnn_archs.classical import methods, run
from cnn_archs.classical.rows import ROWS
from cnn_archs.data.datasets import sources
from cnn_archs.report import read_runs, tables

RANDOM = np.random.default_rng(0)
CENTERS = RANDOM.normal(size=(4, 6))
LABELS = np.repeat(np.arange(4, dtype=np.int32), 60)
TRAIN = CENTERS[LABELS] + 0.9 * RANDOM.normal(size=(240, 6))
TEST = CENTERS[LABELS] + 0.9 * RANDOM.normal(size=(240, 6))


def regressed(train, targets, test):
    return LinearRegression().fit(train, targets).predict(test)


def test_the_linear_classifier_is_a_regression_on_plus_and_minus_one():
    targets = np.where(LABELS[:, None] == np.arange(4), 1.0, -1.0)
    expected = regressed(TRAIN, targets, TEST).argmax(1)
    assert (methods.linear(TRAIN, LABELS, TEST) == expected).all()
    constant = np.zeros((240, 1))  # a pixel that is always 0 changes nothing
    wider = [np.hstack([x, constant]) for x in (TRAIN, TEST)]
    assert (methods.linear(wider[0], LABELS, wider[1]) == expected).all()


def test_pairwise_scores_are_sums_of_45_units_for_ten_classes():
    scores = np.zeros((240, 4))
    for i, j in combinations(range(4), 2):
        mask = np.isin(LABELS, (i, j))
        a = regressed(TRAIN[mask], np.where(LABELS[mask] == i, 1.0, -1.0), TEST)
        unit = 1.7159 * np.tanh(2 / 3 * a)
        scores[:, i] += unit
        scores[:, j] -= unit
    assert (methods.pairwise(TRAIN, LABELS, TEST) == scores.argmax(1)).all()


def test_nearest_neighbors_vote():
    distances = ((TEST[:, None] - TRAIN[None]) ** 2).sum(-1)
    votes = LABELS[np.argsort(distances, 1)[:, :3]]
    expected = [np.bincount(v, minlength=4).argmax() for v in votes]
    assert (methods.nearest(TRAIN, LABELS, TEST, k=3) == expected).all()


def test_the_products_of_40_components_are_820():
    x = RANDOM.normal(size=(3, 40))
    found = methods.products(x)
    assert found.shape == (3, 820)
    assert set(np.round(found[0], 9)) == {round(a * b, 9) for a in x[0] for b in x[0]}


def test_a_quadratic_classifier_of_all_components_is_that_of_any_rotation():
    """With all components kept, their pairs span what the pairs of centered inputs span."""
    centered = [x - TRAIN.mean(0) for x in (TRAIN, TEST)]
    expected = methods.linear(methods.products(centered[0]), LABELS, methods.products(centered[1]))
    assert (methods.pca_quadratic(TRAIN, LABELS, TEST, components=6) == expected).all()


def test_the_components_kept_are_those_of_greatest_variance():
    noise = 1e-3 * RANDOM.normal(size=(240, 6))
    wide = methods.pca_quadratic(
        np.hstack([TRAIN, noise]), LABELS, np.hstack([TEST, noise[::-1]]), components=6
    )
    assert (wide == methods.pca_quadratic(TRAIN, LABELS, TEST, components=6)).mean() > 0.99


def test_rbf_units_separate_a_ring_that_no_line_can():
    angle = RANDOM.uniform(0, 2 * np.pi, 400)
    labels = np.repeat(np.arange(2, dtype=np.int32), 200)
    points = np.stack([np.cos(angle), np.sin(angle)], 1) * np.where(labels, 3.0, 1.0)[:, None]
    knobs: dict[str, Any] = dict(units=8, width=1.0, ridge=1e-6)
    assert np.mean(methods.linear(points, labels, points) != labels) > 0.3
    found = [methods.rbf(points, labels, points, seed=seed, **knobs) for seed in (0, 0, 1)]
    assert (found[0] == labels).all() and (found[0] == found[1]).all()


def test_the_kernel_of_the_support_vectors_is_of_the_stated_degree():
    """A polynomial of degree 2 separates by the sign of a product, one of degree 1 cannot."""
    x = RANDOM.uniform(-1, 1, (300, 2))
    labels = (x[:, 0] * x[:, 1] > 0).astype(np.int32)
    for degree, most in ((1, 0.9), (2, 1.0)):
        agree = np.mean(methods.polynomial_svm(x, labels, x, degree=degree, penalty=10) == labels)
        assert (agree > 0.97) == (most == 1.0)


def test_deslanted_vectors_are_the_central_20x20():
    blank = sources.load_split("digits", "test")
    images = np.zeros((2, 28, 28, 1), np.uint8)
    images[0, 4:24, 14] = 255  # upright already
    for y in range(4, 24):
        images[1, y, 4 + y // 2] = 255  # slanted by half a pixel a row
    vectors = run.to_vectors(type(blank)(images, np.zeros(2, np.int32), ("a",)), "deslanted")
    assert vectors.shape == (2, 400) and vectors.max() <= 1.0
    ink = vectors.reshape(2, 20, 20)
    assert (ink[0, :, 10] == 1.0).all() and ink[0].sum() == 20
    assert ink[1].sum(0).max() > 8 and (ink[1].sum(0) > 0.01).sum() <= 4  # few columns


# --- The command and its result ----------------------------------------------------------------


def test_a_row_on_the_embedded_digits_leaves_a_result(tmp_path, capsys):
    file = tmp_path / "digits" / "linear.json"
    file.parent.mkdir()
    assert cli.main(["classical", "linear", "--dataset=digits", f"--output={file}"]) == 0
    assert "linear on digits: test error" in capsys.readouterr().out
    made = json.loads(file.read_text())["made"]
    assert made["row"] == {"method": "linear", "form": "regular", "knobs": {}, "examples": 0}
    assert {"git_commit", "python", "command"} < made.keys() and made["packages"]["scikit-learn"]
    (collection,) = read_runs.read_collections([file.parent])
    (table,) = tables.results_tables(collection)
    assert dict(zip(table.heads, table.rows[0], strict=True))["test"].endswith("(1)")
    assert not tables.runs_table(collection).rows


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["quadratic"], "there is no row quadratic, only linear,"),
        (["linear", "--dataset=digits", "--examples=9999"], "--examples=9999: digits has 1,437"),
        (["linear", "--dataset=digits", "--output=nowhere/x.json"], "--output: there is no folder"),
    ],
)
def test_what_is_not_possible_is_one_line(arguments, said, capsys):
    assert cli.main(["classical", *arguments]) == 2
    assert said in capsys.readouterr().err


def result_of(row, **changes):
    of_row = ROWS[row]
    made = {"method": of_row.method, "form": of_row.form, "knobs": dict(of_row.knobs)}
    seeds = {"seeds": list(of_row.seeds)} if of_row.seeds else {}
    errors = [0.12] * max(1, len(of_row.seeds))
    return {
        **dict(name=row, dataset="mnist", protocol="single", **seeds),
        **dict(test={"top1_error": errors, "examples": 10_000}),
        **dict(made={"row": {**made, "examples": 0}}),
        **changes,
    }


def values(tmp_path, result, row="nearest"):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / f"{row}.json").write_text(json.dumps(result))
    source = {"row": row, "result": f"mnist/{row}.json"}
    return evidence.values_of_seeds(source, "test.top1_error", "single", tmp_path)


def test_one_result_of_a_method_without_chance_is_enough(tmp_path):
    assert values(tmp_path, result_of("nearest")) == {0: 0.12}


def test_a_method_with_chance_needs_three(tmp_path):
    one = result_of("rbf", seeds=[0], test={"top1_error": [0.036], "examples": 10_000})
    with pytest.raises(evidence.Refused, match="1 of the 3 networks"):
        values(tmp_path, one, "rbf")


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"made": {}}, "settings are not those of the row nearest: method, form, knobs, examples"),
        ({"made": result_of("nearest_deslanted")["made"]}, "the row nearest: form"),
        ({"dataset": "digits"}, "it is of digits, not of mnist"),
        ({"name": "linear"}, "it is of linear"),
        ({"protocol": "mirror"}, "its protocol is mirror"),
    ],
)
def test_another_result_does_not_count(changes, why, tmp_path):
    with pytest.raises(evidence.Refused, match=why):
        values(tmp_path, result_of("nearest", **changes))


def test_a_part_of_the_training_images_does_not_count(tmp_path):
    part = result_of("svm")
    part["made"]["row"]["examples"] = 10_000
    with pytest.raises(evidence.Refused, match="of the row svm: examples"):
        values(tmp_path, part, "svm")
