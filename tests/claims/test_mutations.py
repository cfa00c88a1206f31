"""Claims about functions: what a network computes is changed in its source, and a claim falls.

The changed class or function takes the place of the original one in this process, and the claims
are computed anew.
"""

import inspect
import sys
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest

from cnn_archs.claims import schema, verdicts
from cnn_archs.claims.checks import observed
from cnn_archs.data.transforms import crops
from cnn_archs.data.transforms.preprocess import Preprocessor
from cnn_archs.evaluate import protocols
from cnn_archs.models import alexnet, inception, layers, lenet, pooling, residual_units
from cnn_archs.models.cpu import batch_norm
from cnn_archs.optim import optimizers, schedules
from cnn_archs.training import steps

STATED = {c.id: c for c in schema.load_claims().claims}


class Change(NamedTuple):
    """Pairs (old, new) of source, in a method of a class, or in a function (method "").

    falls: the claims that must fall. stand: claims of the same network that must not.
    """

    owner: object
    method: str
    pairs: tuple[tuple[str, str], ...]
    falls: tuple[str, ...]
    stand: tuple[str, ...] = ()


def of(owner, method, old, new, *falls, stand=()):
    return Change(owner, method, ((old, new),), falls, stand)


CHANGES = {
    "LRN after the pool": of(
        *(alexnet.AlexNet, "__call__"),
        *('return pool(norm(x, f"lrn{number}"), f"pool{number}")',),
        *('return norm(pool(x, f"pool{number}"), f"lrn{number}")',),
        "alexnet-lrn-place",
        stand=("alexnet-lrn", "alexnet-overlapping-pools", "alexnet-towers"),
    ),
    "LRN is the identity": of(
        *(layers.LRN, "__call__"),
        *("y = local_response_norm(x, self.k, self.n, alpha, self.beta)", "y = x"),
        "alexnet-lrn",
        stand=("alexnet-lrn-place",),
    ),
    "no ReLU": of(
        *(alexnet.AlexNet, "__call__", "return act(layer(x))", "return layer(x)"),
        *("alexnet-lrn-place",),
        stand=("alexnet-lrn", "alexnet-conv1"),
    ),
    "a max pool of means": of(
        *(pooling.MaxPool, "__call__"),
        *("return max_pool(", "return mean_pool("),
        "notes-cnn-pool",
        stand=("notes-cnn-order",),
    ),
    "C3 by another table": of(
        *(lenet.TableConv, "__call__", "for row in self.table]", "for row in self.table[::-1]]"),
        *("lenet5-c3", "lenet5-table-1"),
        stand=("lenet5-rbf", "lenet5-subsampling"),
    ),
    "subsampling by means": of(
        *(lenet.Subsample, "__call__", ".sum((2, 4))", ".mean((2, 4))"),
        "lenet5-subsampling",
        stand=("lenet5-c3",),
    ),
    "RBF without the square": of(
        *(lenet.RBF, "__call__", "jnp.square(", "jnp.abs("),
        "lenet5-rbf",
        stand=("lenet5-squash",),
    ),
    "SDLM without mu": of(optimizers.sdlm, "", "(mu + h)", "h", "lenet5-step"),
    "momentum as in torch": Change(
        *(optimizers.momentum, ""),
        (
            ("        scale_by_learning_rate(),  # -lr (...)\n", ""),
            ("optax.trace(momentum),", "optax.trace(momentum), scale_by_learning_rate(),"),
        ),
        ("alexnet-update",),
    ),
    "branches in reverse": of(
        *(inception.Inception, "__call__", "concatenate(branches,", "concatenate(branches[::-1],"),
        "googlenet-naive-module",
    ),
    "auxiliary heads without ReLU and dropout": Change(
        *(inception.Auxiliary, "__call__"),
        (
            ("x = relu(self.dense(", "x = (self.dense("),
            ("x = nn.Dropout(self.dropout, deterministic=not train)(x)", ""),
        ),
        ("googlenet-aux-order", "googlenet-aux-dropout"),
        stand=("googlenet-order", "googlenet-module"),
    ),
    "no shortcut where shapes change": of(
        *(residual_units.ResidualUnit, "__call__"),
        *('elif self.shortcut != "none":', 'elif self.shortcut != "none" and not self.changes(x):'),
        "resnet-option-a",
        stand=("resnet-unit",),
    ),
    "another epsilon": of(
        *(layers.BatchNorm, "__call__", "self.epsilon", "1e-3"),
        *("resnet-batch-norm-devices",),
    ),
    "another momentum": of(
        *(layers.BatchNorm, "__call__", "old = self.momentum", "old = 0.99"),
        *("resnet-batch-norm-devices",),
    ),
    # Others, of which a network or a recipe can be wrong in the same ways.
    "no mean is subtracted": of(
        *(Preprocessor, "make_preprocess"),
        *('x = x - jnp.asarray(statistics["mean"])[None]', "x = x"),
        *("alexnet-mean-subtracted", "vgg-mean-subtracted"),
    ),
    "no image is mirrored": of(
        *(crops.random_flip, "", "bernoulli(key, 0.5,", "bernoulli(key, 0.0,"),
        "resnet-cifar-random-parts",
        stand=("resnet-cifar-mean-subtracted",),
    ),
    "logits are averaged": of(
        *(protocols.compile_add_probabilities, "", "jax.nn.softmax(", "("),
        "alexnet-ten-crops-mean",
    ),
    "the rate falls at once": of(
        *(schedules.plateau, "", "(waited >= patience)", "(waited >= 0)"),
        "alexnet-plateau",
    ),
    "another momentum on one CPU": of(
        *(layers.BatchNorm, "one_by_one", "old = self.momentum", "old = 0.99"),
        "resnet-batch-norm",
    ),
    "the unbiased variance on one CPU": of(
        *(batch_norm.moments, "", "return mean, variance", "return mean, 1.01 * variance"),
        "resnet-batch-norm",
    ),
    "ReLU before the addition": of(
        *(residual_units.ResidualUnit, "__call__", "return relu(y)", "return y"),
        *("resnet-zeroed-relu-last", "resnet-unit", "resnet-option-a"),
    ),
    "the shortcut of x itself": of(
        *(residual_units.PreActivationUnit, "__call__"),
        *("x = active if self.first or self.changes(x) else x", "x = x"),
        *("resnet-v2-unit-changing", "resnet-v2-unit-padded"),
        stand=("resnet-v2-unit",),
    ),
    "auxiliary losses that count whole": of(
        *(steps.make_loss_fn, "", "+ auxiliary * sum(", "+ sum("),
        "googlenet-auxiliary-loss",
    ),
    "another squash": of(lenet.squash, "", "2.0 / 3.0 * a", "a", "lenet5-squash-1"),
}
SLOW = list(CHANGES)[18:]  # the same layers as above


def changed(monkeypatch, change):
    """Put the changed class or function in the place of the original one."""
    owner = change.owner
    source = inspect.getsource(owner)
    for old, new in change.pairs:
        assert old in source, f"{owner.__name__} has no {old}"
        source = source.replace(old, new)
    module = sys.modules[owner.__module__]
    scope = dict(vars(module))
    exec(compile(source, owner.__name__, "exec"), scope)
    other = scope[owner.__name__]
    if change.method:
        monkeypatch.setattr(owner, change.method, vars(other)[change.method])
    else:
        monkeypatch.setattr(module, owner.__name__, other)
        for table in (optimizers.OPTIMIZERS, schedules.SCHEDULES):
            if owner.__name__ in table:
                monkeypatch.setitem(table, owner.__name__, other)


def statuses(ids):
    return {i: verdicts.evaluate_computed(STATED[i])["status"] for i in ids}


@pytest.fixture
def anew():
    observed.forget()
    yield
    observed.forget()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in CHANGES]
)
def test_a_changed_function_is_noticed(name, monkeypatch, anew):
    change = CHANGES[name]
    changed(monkeypatch, change)
    assert set(statuses(change.falls).values()) == {"missed"}
    assert "missed" not in statuses(change.stand).values()


def test_a_check_compares_shapes_and_values_and_never_nothing():
    x = np.linspace(1.0, 2.0, 8).reshape(2, 4)
    compare = partial(observed.compare, what="it")
    compare(x + 1e-6, x)
    with pytest.raises(observed.Otherwise, match="it differs by 0.001 of the largest value"):
        compare(x + 2e-3, x)
    with pytest.raises(observed.Otherwise, match=r"it: the shape is \(2, 4\), not \(4, 2\)"):
        compare(x, x.T)
    with pytest.raises(observed.Otherwise, match="it differs by nan"):
        compare(x * np.nan, x)
    with pytest.raises(ValueError, match="it: all values are 0"):
        compare(x, 0 * x)
