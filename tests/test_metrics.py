"""Compare MetricSums with numpy and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from cnn_archs.metrics import MetricSums, stack_by_seed


def counts(logits, label, loss=None, mask=None):
    logits, label = np.asarray(logits, np.float32), np.asarray(label, np.int32)
    loss = np.zeros(len(label), np.float32) if loss is None else np.asarray(loss, np.float32)
    mask = np.ones(len(label), bool) if mask is None else np.asarray(mask)
    return MetricSums.from_logits(
        jnp.asarray(logits), jnp.asarray(label), jnp.asarray(loss), jnp.asarray(mask)
    )


def test_sums_are_scikit_learns():
    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(500, 10)).astype(np.float32), rng.integers(0, 10, 500)
    loss = rng.uniform(0, 3, 500).astype(np.float32)
    report = counts(logits, label, loss).report()
    for k in (1, 5):
        accuracy = top_k_accuracy_score(label, logits, k=k, labels=range(10))
        assert report[f"top{k}_error"] == pytest.approx(1 - accuracy, abs=1e-12)
    assert report["loss"] == pytest.approx(loss.astype(np.float64).mean(), rel=1e-6)
    assert report["examples"] == 500


@pytest.mark.parametrize("label", range(7))
def test_of_equal_scores_the_lowest_number_comes_first(label):
    """The expected order is np.argsort(-logits, stable): label is at place `label` of 7."""
    c = counts(np.zeros((1, 7)), [label])
    assert int(c.top1) == (label == 0)
    assert int(c.top5) == (label < 5)


def test_a_tie_is_broken_once_not_twice():
    """A constant network is right for one class of ten, not for all and not for none."""
    c = counts(np.zeros((10, 10)), np.arange(10))
    assert (int(c.top1), int(c.top5)) == (1, 5)


def test_a_tie_with_a_higher_number_is_a_hit():
    c = counts([[0.0, 2.0, 2.0], [0.0, 2.0, 2.0]], [1, 2])
    assert int(c.top1) == 1


def test_nan_is_never_a_hit():
    nan = np.nan
    logits = [[nan] * 10, [nan, *[0.0] * 9], [0.0] * 9 + [nan]]
    c = counts(logits, [3, 0, 9])
    assert (int(c.examples), int(c.top1), int(c.top5)) == (3, 0, 0)
    report = c.report()
    assert (report["top1_error"], report["top5_error"]) == (1.0, 1.0)


def test_a_masked_example_counts_nowhere():
    rng = np.random.default_rng(1)
    logits, label = rng.normal(size=(9, 10)), rng.integers(0, 10, 9)
    loss = rng.uniform(0, 3, 9)
    mask = np.array([True, False, True, True, False, False, True, True, False])
    some = counts(logits, label, loss, mask)
    alone = counts(logits[mask], label[mask], loss[mask])
    assert int(some.examples) == 5
    assert jax.tree.map(float, some) == jax.tree.map(float, alone)


def test_what_is_masked_may_be_nan():
    logits = [[1.0, 0.0], [np.nan, np.nan]]
    c = counts(logits, [0, 0], loss=[0.5, np.nan], mask=[True, False])
    assert c.report() == {"loss": 0.5, "top1_error": 0.0, "top5_error": 0.0, "examples": 1}


def test_a_nan_loss_that_counts_is_seen():
    assert np.isnan(counts([[1.0, 0.0]], [0], loss=[np.nan]).report()["loss"])


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_top_5_of_few_classes_is_always_a_hit(classes):
    rng = np.random.default_rng(2)
    c = counts(rng.normal(size=(20, classes)), rng.integers(0, classes, 20))
    assert int(c.top5) == 20
    assert int(c.top1) < 20


def test_parts_add_up_to_the_whole():
    rng = np.random.default_rng(3)
    logits, label = rng.normal(size=(30, 10)), rng.integers(0, 10, 30)
    loss = rng.integers(0, 8, 30) / 4  # sums of quarters are exact
    total = MetricSums.zeros()
    for part in np.split(np.arange(30), [1, 8, 20]):
        total = total + counts(logits[part], label[part], loss[part])
    assert total.report() == counts(logits, label, loss).report()


def test_each_auxiliary_classifier_has_an_error_of_its_own():
    label, mask = jnp.array([0, 1, 1, 0]), jnp.array([True, True, True, False])
    logits, loss = jnp.array([[1.0, 0.0]] * 4), jnp.ones(4)
    heads = {"aux_a": -logits, "aux_b": jnp.full((4, 2), jnp.nan)}
    c = MetricSums.from_logits(logits, label, loss, mask, heads)
    report = (c + c).report()
    assert (report["top1_error"], report["examples"]) == (1 - 2 / 6, 6)
    assert (report["aux_a_error"], report["aux_b_error"]) == (1 - 4 / 6, 1.0)
    both = stack_by_seed([report, report])
    assert both["aux_a_error"] == [1 - 4 / 6] * 2 and both["examples"] == 6
    assert list(both)[:3] == ["top1_error", "top5_error", "loss"]


def test_report_divides_once():
    c = MetricSums(
        examples=jnp.int32(8), loss=jnp.float32(6.0), top1=jnp.int32(5), top5=jnp.int32(7)
    )
    assert c.report() == {"loss": 0.75, "top1_error": 3 / 8, "top5_error": 1 / 8, "examples": 8}


def test_a_wrong_batch_of_a_large_test_set_is_counted_exactly():
    """2^24 + 1 is not a float32: examples are integers."""
    many = MetricSums.zeros().replace(examples=jnp.int32(2**24), top1=jnp.int32(2**24))
    assert int((many + counts([[1.0, 0.0]], [0])).top1) == 2**24 + 1
