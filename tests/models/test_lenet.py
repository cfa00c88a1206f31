"""LeNet-5, both forms, and the notes' two small networks: printed facts, and numpy's forward.

Sources: LeCun, Bottou, Bengio & Haffner 1998, section II.B, Table I, appendix A; scipy's
`correlate2d` for the values.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from cnn_archs import models
from cnn_archs.models import lenet, summary
from cnn_archs.models.cpu import convolution

# fmt: off
TABLE_I = (  # the S2 maps that feed C3 map 0, 1, ..., 15
    {0, 1, 2}, {1, 2, 3}, {2, 3, 4}, {3, 4, 5}, {0, 4, 5}, {0, 1, 5},  # three in a row
    {0, 1, 2, 3}, {1, 2, 3, 4}, {2, 3, 4, 5},                          # four in a row
    {0, 3, 4, 5}, {0, 1, 4, 5}, {0, 1, 2, 5},
    {0, 1, 3, 4}, {1, 2, 4, 5}, {0, 2, 3, 5},                          # four, not in a row
    {0, 1, 2, 3, 4, 5},                                                # all
)
# fmt: on


def key(seed):
    return jax.random.key(seed, impl="unsafe_rbg")  # compiles in a tenth of threefry's time


def init(model, image, seed=0):
    return model.init(key(seed), jnp.zeros((1, *image)), train=False)


def shapes(model, image):
    return jax.eval_shape(lambda: init(model, image))


def n_params(model, image):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(model, image)))


def some_variables(model, image):
    """Uniform weights and biases, none of them 0, that keep the signals near 1."""
    rng = np.random.default_rng(5)

    def draw(leaf):
        bound = 1 / math.sqrt(math.prod(leaf.shape[:-1]))
        return jnp.asarray(rng.uniform(-bound, bound, leaf.shape), jnp.float32)

    return jax.tree.map(draw, shapes(model, image))


def logits_of(model, variables, batch):
    forward = jax.jit(lambda v, x: model.apply(v, x, train=False)["logits"])
    return forward(variables, batch)


def images(shape, seed=0):
    """f32 images in LeNet-5's range, -0.1 to 1.175."""
    return np.random.default_rng(seed).uniform(-0.1, 1.175, shape).astype(np.float32)


# --- Table I -----------------------------------------------------------------------------------


def test_table_1_names_the_connections_of_c3():
    columns = tuple({int(i) for i in np.flatnonzero(column)} for column in lenet.C3_MASK.T)
    assert columns == TABLE_I


def test_each_s2_map_feeds_ten_c3_maps():
    assert lenet.C3_MASK.shape == (6, 16)
    assert lenet.C3_MASK.sum(1).tolist() == [10] * 6
    assert lenet.C3_MASK.sum() == 6 * 3 + 9 * 4 + 6 == 60


def test_c3_is_the_loop_over_the_connections_of_table_1():
    layer = lenet.TableConv()
    x = images((2, 9, 8, 6))
    variables = jax.jit(layer.init)(key(3), x)
    weights = np.asarray(variables["params"]["kernel"], np.float64)
    connections = [(s2, c3) for s2 in range(6) for c3 in range(16) if s2 in TABLE_I[c3]]
    expected = np.zeros((2, 5, 4, 16)) + np.asarray(variables["params"]["bias"], np.float64)
    for k, (s2, c3) in enumerate(connections):
        for n in range(2):
            expected[n, :, :, c3] += correlate2d(x[n, :, :, s2], weights[:, :, k], "valid")
    found: Any = layer.apply(variables, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# --- Counts ------------------------------------------------------------------------------------


def test_lenet5_1998_has_60000_parameters_in_these_layers():
    params = shapes(lenet.LeNet5_1998(), (32, 32, 1))["params"]
    counts = {name: sum(x.size for x in jax.tree.leaves(p)) for name, p in params.items()}
    assert counts == {
        "C1": 6 * (25 + 1),  # 156
        "S2": 6 * 2,  # 12
        "C3": 60 * 25 + 16,  # 1,516
        "S4": 16 * 2,  # 32
        "C5": 120 * (16 * 25 + 1),  # 48,120
        "F6": 84 * (120 + 1),  # 10,164
    }
    assert sum(counts.values()) == 60_000


def test_lenet5_1998_has_340908_connections():
    """Section II.B: a connection is a weight or a bias, counted at each unit that uses it."""
    connections = 0
    for row in summary.summarize(lenet.LeNet5_1998(), (32, 32, 1)):
        h, w, maps = row.out
        of_type = {
            "conv": row.params * h * w,  # shared by all units of a map
            "subsampling": (2 * 2 + 1) * h * w * maps,
            "dense": row.params,
            "rbf": 84 * 10,
        }
        connections += of_type[row.type]
    assert connections == 122_304 + 5_880 + 151_600 + 2_000 + 48_120 + 10_164 + 840 == 340_908


@pytest.mark.parametrize(
    "name, fields, image, params, macs",
    [
        ("lenet5", {}, (28, 28, 1), 156 + 2_416 + 48_120 + 10_164 + 850, 416_520),
        ("lenet5", {"padding": 0}, (32, 32, 1), 61_706, 416_520),
        ("lenet5_1998", {}, (32, 32, 1), 60_000, 326_520),
        ("mlp", {}, (28, 28, 1), 784 * 512 + 512 + 512 * 10 + 10, 784 * 512 + 512 * 10),
        ("cnn", {}, (28, 28, 1), 320 + 18_496 + 1_179_776 + 1_290, 11_992_448),
    ],
)
def test_parameters_and_multiply_adds(name, fields, image, params, macs):
    model = models.create(name, **fields)
    assert n_params(model, image) == params
    totals = summary.totals(summary.summarize(model, image))
    assert (totals["params"], totals["macs"]) == (params, macs)


def test_the_totals_that_the_notes_and_the_books_print():
    assert n_params(models.create("lenet5"), (28, 28, 1)) == 61_706
    assert n_params(models.create("mlp"), (28, 28, 1)) == 407_050
    assert n_params(models.create("cnn"), (28, 28, 1)) == 1_199_882


# --- The parts of the network of 1998 ------------------------------------------------------------


def test_squash_is_1_7159_tanh_of_two_thirds():
    """Appendix A; to 7 digits, from the formula."""
    a = np.array([1.0, -1.0, 0.5, 2.0])
    printed = [0.9999973, -0.9999973, 0.5516837, 1.4929388]
    np.testing.assert_allclose(1.7159 * np.tanh(2 / 3 * a), printed, atol=5e-8)
    np.testing.assert_allclose(lenet.squash(jnp.asarray(a)), printed, atol=3e-7)
    np.testing.assert_allclose(lenet.squash(jnp.array([-50.0, 50.0])), [-1.7159, 1.7159])


def test_rbf_centers_are_ten_distinct_bitmaps_of_7x12():
    assert lenet.RBF_CENTERS.shape == (10, 7 * 12)
    assert set(np.unique(lenet.RBF_CENTERS)) == {-1.0, 1.0}
    assert len(np.unique(lenet.RBF_CENTERS, axis=0)) == 10


def test_rbf_center_of_7_is_drawn_row_by_row():
    rows = lenet.RBF_CENTERS[7].reshape(12, 7)
    assert (rows == 1).sum(1).tolist() == [0, 7] + [1] * 9 + [0]  # the bar, the stroke
    assert rows[2].tolist() == [-1] * 6 + [1]  # which starts at the right


def test_weights_start_uniform_in_2_4_over_fan_in():
    """Section III.B: +-2.4 / F_i; F_i is 4 for S2 and S4."""
    model = lenet.LeNet5_1998()
    params = jax.jit(lambda: init(model, (32, 32, 1), seed=1))()["params"]
    maps = np.array([len(s2) for s2 in TABLE_I])
    fan_in_c3 = 25.0 * maps[[c3 for s2 in range(6) for c3 in range(16) if s2 in TABLE_I[c3]]]
    fan_in: dict[str, dict[str, Any]] = {
        "C1": {"kernel": 25, "bias": 25},
        "S2": {"coefficient": 4, "bias": 4},
        "C3": {"kernel": fan_in_c3, "bias": 25.0 * maps},  # 75, 100 or 150
        "S4": {"coefficient": 4, "bias": 4},
        "C5": {"kernel": 400, "bias": 400},
        "F6": {"kernel": 120, "bias": 120},
    }
    found: Any = jax.tree.structure(params)
    assert found == jax.tree.structure(fan_in)
    scaled = jax.tree.map(lambda w, f: np.asarray(w) * f / 2.4, params, fan_in)  # in -1..1
    for path, part in jax.tree_util.tree_leaves_with_path(scaled):
        assert np.abs(part).max() <= 1 + 1e-6, path
        if part.size >= 100:
            assert np.abs(part).max() > 0.9, path
            assert abs(part.mean()) < 4 / math.sqrt(3 * part.size), path  # 4 standard deviations
            assert part.var() == pytest.approx(1 / 3, rel=0.2), path
    few = jax.tree.leaves((scaled["S2"], scaled["S4"]))  # 44 in all
    assert np.abs(np.concatenate(few)).max() > 0.9
    for f in (75, 100, 150):  # each map of C3 by its own fan-in
        assert np.abs(scaled["C3"]["kernel"][:, :, fan_in_c3 == f]).max() > 0.9


def test_lenet5_1998_takes_32x32_only():
    with pytest.raises(ValueError, match="32x32x1"):
        shapes(lenet.LeNet5_1998(), (28, 28, 1))


# --- The whole networks against numpy ------------------------------------------------------------


def convolve(x, kernel, bias):
    """x [H, W, I], kernel [h, w, I, O], "valid" -> [H', W', O]."""
    maps = [
        sum(correlate2d(x[:, :, i], kernel[:, :, i, o], "valid") for i in range(x.shape[-1]))
        for o in range(kernel.shape[-1])
    ]
    return np.stack(maps, -1) + bias


@pytest.mark.parametrize(
    "n, side, channels, features, size, padding",
    [
        (1, (9, 8), 3, 6, (5, 5), ((0, 0), (0, 0))),  # one image: a matrix product
        (3, (5, 5), 4, 7, (5, 5), ((0, 0), (0, 0))),  # a window as large as the image: too
        (2, (9, 8), 3, 6, (5, 5), ((2, 2), (2, 2))),  # 4 columns folded, 8 = 2 groups
        (2, (7, 10), 2, 16, (3, 2), ((1, 0), (0, 3))),  # 2 columns folded, 12 = 6 groups
        (2, (6, 9), 2, 5, (3, 4), ((0, 0), (0, 0))),  # 5 columns folded, 6 = 2 groups, cut
        (2, (6, 9), 2, 30, (3, 3), ((0, 0), (0, 0))),  # 24 maps or more: a matrix product
    ],
)
@pytest.mark.parametrize("backend", ["cpu", "gpu"])  # elsewhere than on a CPU: lax's own
def test_convolve_is_scipys_correlation(
    n, side, channels, features, size, padding, backend, monkeypatch
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    x = images((n, *side, channels))
    kernel = images((*size, channels, features), seed=1)
    padded = np.pad(x, ((0, 0), *padding, (0, 0))).astype(np.float64)
    expected = [convolve(image, kernel.astype(np.float64), 0.0) for image in padded]
    found = convolution.convolve(x, kernel, padding=padding)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_convolve_refuses_what_it_does_not_do():
    x, kernel = images((2, 6, 6, 1)), images((3, 3, 1, 4))
    for other in ({"strides": (2, 2)}, {"rhs_dilation": (2, 2)}, {"feature_group_count": 2}):
        with pytest.raises(ValueError, match="takes stride 1, no dilation and one group only"):
            convolution.convolve(x, kernel, **other)


def squares(x):
    """The four pixels of each 2x2 square, summed: [H, W, C] -> [H/2, W/2, C]."""
    return x[0::2, 0::2] + x[0::2, 1::2] + x[1::2, 0::2] + x[1::2, 1::2]


def numpy_lenet5(params, image, activation, padding):
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x = np.pad(image.astype(np.float64), ((padding, padding), (padding, padding), (0, 0)))
    x = squares(activation(convolve(x, p["C1"]["kernel"], p["C1"]["bias"]))) / 4
    x = squares(activation(convolve(x, p["C3"]["kernel"], p["C3"]["bias"]))) / 4
    x = activation(convolve(x, p["C5"]["kernel"], p["C5"]["bias"])).reshape(-1)
    x = activation(x @ p["F6"]["kernel"] + p["F6"]["bias"])
    return x @ p["OUT7"]["kernel"] + p["OUT7"]["bias"]


def numpy_lenet5_1998(params, image):
    def f(a):
        return 1.7159 * np.tanh(2 / 3 * a)

    def subsample(x, p):
        return p["coefficient"] * squares(x) + p["bias"]

    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    c3 = np.zeros((5, 5, 6, 16))
    pairs = [(s2, c3_map) for s2 in range(6) for c3_map in range(16) if s2 in TABLE_I[c3_map]]
    for k, (s2, c3_map) in enumerate(pairs):
        c3[:, :, s2, c3_map] = p["C3"]["kernel"][:, :, k]
    x = image.astype(np.float64)
    x = f(subsample(f(convolve(x, p["C1"]["kernel"], p["C1"]["bias"])), p["S2"]))
    x = f(subsample(f(convolve(x, c3, p["C3"]["bias"])), p["S4"]))
    x = f(convolve(x, p["C5"]["kernel"], p["C5"]["bias"])).reshape(-1)
    x = f(x @ p["F6"]["kernel"] + p["F6"]["bias"])
    return -np.array([((x - center) ** 2).sum() for center in lenet.RBF_CENTERS])


def test_lenet5_1998_computes_what_numpy_computes():
    model = lenet.LeNet5_1998()
    variables = some_variables(model, (32, 32, 1))
    batch = images((2, 32, 32, 1))
    logits = logits_of(model, variables, batch)
    expected = [numpy_lenet5_1998(variables["params"], image) for image in batch]
    np.testing.assert_allclose(logits, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "fields, side, activation",
    [
        ({}, 28, np.tanh),
        ({"padding": 0}, 32, np.tanh),
        ({"activation": "relu"}, 28, lambda a: np.maximum(a, 0)),
        ({"activation": "sigmoid"}, 28, lambda a: 1 / (1 + np.exp(-a))),
    ],
    ids=["28x28", "32x32", "relu", "sigmoid"],
)
def test_lenet5_computes_what_numpy_computes(fields, side, activation):
    model = lenet.LeNet5(**fields)
    variables = some_variables(model, (side, side, 1))
    batch = images((2, side, side, 1))
    logits = logits_of(model, variables, batch)
    padding = fields.get("padding", 2)
    expected = [numpy_lenet5(variables["params"], i, activation, padding) for i in batch]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_28x28_padded_by_the_network_is_32x32_padded_before():
    variables = some_variables(lenet.LeNet5(padding=2), (28, 28, 1))
    small = images((3, 28, 28, 1))
    large = np.pad(small, ((0, 0), (2, 2), (2, 2), (0, 0)))
    inside = logits_of(lenet.LeNet5(padding=2), variables, small)
    before = logits_of(lenet.LeNet5(padding=0), variables, large)
    np.testing.assert_allclose(inside, before, rtol=1e-6, atol=1e-6)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation 'swish' is not one of"):
        shapes(lenet.LeNet5(activation="swish"), (28, 28, 1))  # type: ignore[arg-type]


def test_an_image_too_small_for_c5_is_refused():
    with pytest.raises(ValueError, match="32x32"):
        shapes(lenet.LeNet5(padding=0), (28, 28, 1))


def test_names_and_fields_are_checked():
    with pytest.raises(KeyError):
        models.create("lenet6")
    with pytest.raises(TypeError):
        models.create("lenet5", depth=3)
    assert models.fields("lenet5")["widths"] == (6, 16, 120, 84)
    assert models.fields("lenet5_1998") == {}  # as printed: nothing to choose


CASES = [
    ("lenet5", (28, 28, 1)),
    ("lenet5_1998", (32, 32, 1)),
    ("mlp", (28, 28, 1)),
    ("cnn", (28, 28, 1)),
]


@pytest.mark.parametrize("name, image", CASES)
def test_jit_and_vmap_compute_the_same(name, image):
    model = models.create(name)
    variables, batch = some_variables(model, image), images((3, *image))

    def forward(x):
        heads: Any = model.apply(variables, x, train=False)
        return heads["logits"]

    plain = forward(batch)
    assert plain.shape == (3, 10)
    np.testing.assert_allclose(jax.jit(forward)(batch), plain, rtol=1e-5, atol=1e-5)
    one_by_one = jax.jit(jax.vmap(lambda x: forward(x[None])[0]))(batch)
    np.testing.assert_allclose(one_by_one, plain, rtol=1e-5, atol=1e-5)


def test_dropout_of_the_cnn_acts_in_training_only():
    model = models.create("cnn")
    none = models.create("cnn", dropout_conv=0.0, dropout_dense=0.0)
    variables, batch = some_variables(model, (28, 28, 1)), images((2, 28, 28, 1))

    def train_with(model):
        def forward(seed):
            rngs = {"dropout": key(seed)}
            return model.apply(variables, batch, train=True, rngs=rngs)["logits"]

        return jax.jit(forward)

    train = train_with(model)
    assert (train(0) == train(0)).all()
    assert (train(0) != train(1)).any()
    clean = logits_of(model, variables, batch)
    np.testing.assert_allclose(train_with(none)(0), clean, rtol=1e-5, atol=1e-5)


def test_the_later_library_starts_and_weighs_otherwise():
    """EBLearn, 2008: weights within 1 / sqrt(F), coefficients 0.5, biases 0, half the energy."""
    printed, later = lenet.LeNet5_1998(), lenet.LeNet5_1998_EBLearn()
    variables = jax.jit(lambda: init(later, (32, 32, 1), seed=1))()
    params: Any = variables["params"]
    for layer, fan_in in {"C1": 25, "C5": 400, "F6": 120}.items():
        scaled = np.abs(params[layer]["kernel"]) * math.sqrt(fan_in)
        assert 0.9 < scaled.max() <= 1 + 1e-6 and not params[layer]["bias"].any()
    by_map = np.abs(params["C3"]["kernel"]).max((0, 1))
    assert by_map.max() <= 1 / math.sqrt(75) and not params["C3"]["bias"].any()
    for layer in ("S2", "S4"):
        assert (params[layer]["coefficient"] == 0.5).all() and not params[layer]["bias"].any()
    image = images((3, 32, 32, 1))
    heads: list[Any] = [net.apply(variables, image, train=False) for net in (printed, later)]
    np.testing.assert_array_equal(heads[1]["logits"], heads[0]["logits"] / 2)
