"""Methods in the place of LeNet-4's last layer, and support vectors that are moved."""

import json

import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

import cnn_archs
from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.claims import evidence
from cnn_archs.classical import methods
from cnn_archs.classical.rows import ROWS, describe
from cnn_archs.data.datasets import sources
from cnn_archs.data.datasets.splits import subsample

RANDOM = np.random.default_rng(0)
LABELS = np.repeat(np.arange(3, dtype=np.int32), 40)
CENTERS = RANDOM.normal(size=(3, 25))
TRAIN, TEST = (CENTERS[LABELS] + 1.5 * RANDOM.normal(size=(120, 25)) for _ in range(2))
SHORT = (
    *("train", "--config=lenet4_mnist:4", "--config.data.name=digits", "--config.data.pad=0"),
    *("--config.optimizer.name=momentum", "--config.schedule.name=constant", "--config.seeds=2"),
    *("--config.data.batch_size=32", "--config.steps=20", "--config.epochs=0"),
)


def test_local_learning_is_a_ridge_regression_on_the_neighbors():
    expected = []
    for x in TEST:
        near = ((TRAIN - x) ** 2).sum(1).argsort()[:30]
        targets = np.where(LABELS[near, None] == np.arange(3), 1.0, -1.0)
        machine = Ridge(alpha=0.1 * 30).fit(TRAIN[near], targets)
        expected.append(machine.predict(x[None]).argmax())
    found = methods.local_linear(TRAIN, LABELS, TEST, k=30, ridge=0.1)
    assert (found == expected).all()
    assert (found != methods.nearest(TRAIN, LABELS, TEST, k=30)).any()  # it is no vote


def test_images_are_shifted_as_by_scipy():
    images = RANDOM.uniform(size=(2, 5, 5))
    for by in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)):
        expected = [ndimage.shift(image, by, order=0) for image in images]
        found = methods.shifted(images.reshape(2, 25), *by).reshape(2, 5, 5)
        np.testing.assert_array_equal(found, expected)


def test_virtual_vectors_are_the_moved_support_vectors():
    settings = dict(C=1.0, kernel="poly", degree=3, gamma="scale", coef0=1.0)
    own = SVC(**settings).fit(TRAIN, LABELS).support_
    assert len(own) < len(TRAIN)
    moved, of_moved = [], []
    for by in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)):
        for i in own:
            moved.append(ndimage.shift(TRAIN[i].reshape(5, 5), by, order=0).ravel())
            of_moved.append(LABELS[i])
    expected = SVC(**settings).fit(np.array(moved), of_moved).predict(TEST)
    found = methods.virtual_svm(TRAIN, LABELS, TEST, degree=3, penalty=1.0)
    assert (found == expected).all()
    assert (found != methods.polynomial_svm(TRAIN, LABELS, TEST, degree=3, penalty=1.0)).any()


def test_the_row_of_virtual_vectors_on_the_embedded_digits(capsys):
    assert cli.main(["classical", "svm_virtual", "--dataset=digits", "--examples=100"]) == 0
    error = float(capsys.readouterr().out.split("test error ")[1].split()[0])
    assert error < 15


# --- A result of networks, as evidence ------------------------------------------------------------


def result_of(row, **changes):
    """The result of three networks that were trained to the end, on MNIST."""
    config = configs.to_plain_dict(configs.load_config(ROWS[row].network, []))
    return {
        **dict(name=row, dataset="mnist", protocol="single", seeds=[0, 1, 2]),
        **dict(
            steps=1_200_000, epochs=20.0, made={"config": config, "row": describe(ROWS[row], 0)}
        ),
        **dict(test={"top1_error": [0.012, 0.011, 0.013], "examples": 10_000}),
        **changes,
    }


def values(tmp_path, result):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "lenet4_local.json").write_text(json.dumps(result))
    source = {"row": "lenet4_local", "result": "mnist/lenet4_local.json"}
    return evidence.values_of_seeds(source, "test.top1_error", "single", tmp_path)


def test_networks_that_were_trained_to_the_end_count(tmp_path):
    assert values(tmp_path, result_of("lenet4_local")) == {0: 0.012, 1: 0.011, 2: 0.013}


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"epochs": 2.0}, "2 of 20 epochs"),
        ({"seeds": [0], "test": {"top1_error": [0.012]}}, "1 of the 3 networks"),
        ({"dataset": "digits"}, "it is of digits, not of mnist"),
        ({"made": {"row": describe(ROWS["lenet4_local"], 0)}}, "it does not record its config"),
    ],
)
def test_others_do_not(tmp_path, changes, why):
    with pytest.raises(evidence.Refused, match=why):
        values(tmp_path, result_of("lenet4_local", **changes))


def test_another_recipe_does_not(tmp_path):
    other = result_of("lenet4_local")
    other["made"]["config"]["optimizer"]["mu"] = 0.4
    with pytest.raises(evidence.Refused, match="its config is not that of lenet4_mnist:4: optimiz"):
        values(tmp_path, other)


# --- A trained network ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two networks of LeNet-4, trained for 20 steps on the embedded digits."""
    workdir = tmp_path_factory.mktemp("runs") / "lenet4"
    assert cli.main([*SHORT, f"--workdir={workdir}"]) == 0
    return workdir


@pytest.mark.slow
def test_neighbors_are_sought_among_the_states_of_the_last_hidden_layer(run):
    file = run.parent / "lenet4_nearest.json"
    command = ["classical", "lenet4_nearest", f"--workdir={run}", f"--output={file}"]
    assert cli.main([*command, "--examples=400"]) == 0
    result = json.loads(file.read_text())
    train, test = (sources.load_split("digits", part) for part in ("train", "test"))
    chosen = subsample(train, 400, "--examples")
    errors = []
    for seed in range(2):
        net = cnn_archs.load(run, seed=seed)
        states = [
            1.7159 * np.tanh(2 / 3 * net.features(part.images, "C5").reshape(len(part), 120))
            for part in (chosen, test)
        ]
        machine = KNeighborsClassifier(3, algorithm="brute").fit(states[0], chosen.labels)
        errors.append(np.mean(machine.predict(states[1]) != test.labels))
    assert result["test"]["top1_error"] == pytest.approx(errors, abs=2 / 360)
    assert result["seeds"] == [0, 1] and 0 < errors[0] < 0.5
    assert (result["steps"], result["epochs"]) == (20, 20 * 32 / 1437)
    made = result["made"]
    assert made["row"] == describe(ROWS["lenet4_nearest"], 400)
    assert made["config"]["model"]["name"] == "lenet4"


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, said",
    [
        (["linear", "--workdir=RUN"], "--workdir: linear has no network; leave it out"),
        (["lenet4_local", "--workdir=RUN", "--dataset=mnist"], "--dataset: the images are those"),
        (["lenet4_local", "--workdir=RUN", "--examples=5000"], "digits has 1,437 to train on"),
    ],
)
def test_what_a_run_cannot_give_is_one_line(run, arguments, said, capsys):
    filled = [a.replace("RUN", str(run)) for a in arguments]
    assert cli.main(["classical", *filled]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["lenet4_local"], "lenet4_local needs a trained network: --workdir=RUN of train --config"),
        (["lenet4_local", "--workdir=nowhere"], "nowhere"),
    ],
)
def test_a_row_of_lenet4_needs_a_run(arguments, said, capsys):
    assert cli.main(["classical", *arguments]) == 2
    assert said in capsys.readouterr().err
