"""Run a network of this package on random numbers, and observe what each of its layers computes.

The checks of functions (`layers.py`, `modules.py`, `learning.py`) compare that with the papers'
formulas. They return AS_STATED, or say what is otherwise.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict

from cnn_archs import models
from cnn_archs.models.cpu.training_step import training_step
from cnn_archs.runtime.compiler_options import supported_options

AS_STATED = "as stated"
TOLERANCE = 5e-5  # float32 against float64, as a fraction of the largest value
IMAGES = 4
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}  # to compile
SEED = 1998
Array = np.ndarray


class Otherwise(Exception):
    """The network does not compute what is stated; the message says what is otherwise."""


class Call(NamedTuple):
    """One call of a layer: its input and its output, f64[N, ...]."""

    x: Array
    y: Array


class Observed(NamedTuple):
    """A network that was run once.

    image: f64[N, H, W, C]. calls: {path of a layer: its calls}. variables: {path of a layer: {name:
    values}}, before the run. after: {path: {name: values}} of the batch statistics after it.
    heads: the outputs of the network.
    """

    image: Array
    calls: Mapping[str, Sequence[Call]]
    variables: Mapping[str, Mapping[str, Array]]
    after: Mapping[str, Mapping[str, Array]]
    heads: Mapping[str, Array]

    def call(self, layer: str) -> Call:
        """Return the call of a layer; `Dropout_0#2` is the second. Raises Otherwise without it."""
        name, _, number = layer.partition("#")
        calls, at = self.calls.get(name, ()), int(number or 1)
        if at > len(calls) or (not number and len(calls) > 1):
            raise Otherwise(f"{name} is computed {len(calls)} times")
        return calls[at - 1]

    def of(self, layer: str, name: str) -> Array:
        """Return a parameter of a layer. Raises Otherwise if it has none of that name."""
        if name not in self.variables.get(layer, {}):
            raise Otherwise(f"{layer} has no {name}")
        return self.variables[layer][name]


class Small(NamedTuple):
    """A network with few maps on small images, whose functions are those of the whole one.

    image: the (H, W, C) for which its variables are made. at: that of the images, if it is another.
    scale: the standard deviation of the pixels; running variances are about its square. train:
    whether to compute as in training. one_cpu: whether training takes the form for one CPU.
    """

    model: str
    image: tuple[int, int, int]
    fields: Mapping[str, Any] = nn.FrozenDict()
    at: tuple[int, int, int] | tuple[()] = ()
    scale: float = 1.0
    train: bool = False
    one_cpu: bool = True


@functools.cache
def observe(small: Small) -> Observed:
    """Run a network once, with random variables, on IMAGES random images."""
    random = np.random.default_rng(SEED)
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: draw(random, path[-1].key, leaf.shape, small.scale),
        variable_shapes(small.model, small.image, small.fields),
    )
    pixels = random.normal(0.0, small.scale, (IMAGES, *(small.at or small.image)))
    pixels = pixels.astype(np.float32)
    step = small.train and small.one_cpu and jax.default_backend() == "cpu"
    run = program(small.model, small.fields, small.train, step)
    with jax.default_matmul_precision("highest"):
        found = run(variables, pixels, jax.random.key(SEED))
    heads, after, calls = jax.tree.map(wide, found)
    return Observed(
        wide(pixels),
        {layer: [Call(*call) for call in of] for layer, of in calls.items()},
        by_layer(variables["params"], variables["batch_stats"]),
        by_layer(after),
        heads,
    )


@functools.cache
def variable_shapes(model: str, image: tuple[int, int, int], fields: Any) -> Any:
    """Return the shapes of a network's variables: {"params", "batch_stats"}."""
    net = models.create(model, **fields)
    return jax.eval_shape(lambda key: models.init(net, key, image), jax.random.key(0))


@functools.cache
def program(model: str, fields: Any, train: bool, step: bool) -> Callable[..., Any]:
    """Compile (variables, image, key) -> (heads, batch statistics, calls of the layers).

    step: whether the layers take their forms for a training step on one CPU.
    """
    net = models.create(model, **fields)

    def run(variables: Any, image: jax.Array, key: jax.Array) -> Any:
        calls: dict[str, list[Any]] = {}

        def record(following: Any, args: Any, kwargs: Any, context: Any) -> Any:
            y = following(*args, **kwargs)
            if context.method_name == "__call__" and context.module.path:
                calls.setdefault("/".join(context.module.path), []).append((args[0], y))
            return y

        options: Any = dict(train=train, mutable=["batch_stats"], rngs={"dropout": key})
        with ExitStack() as contexts:
            contexts.enter_context(nn.intercept_methods(record))
            if step:
                contexts.enter_context(training_step(onednn=False))
            heads, updates = net.apply(variables, image, **options)
        return heads, updates.get("batch_stats", {}), calls

    return quick_jit(run)


def quick_jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Jit a function that runs once, with options that make it compile in a fifth of the time."""
    return jax.jit(function, compiler_options=supported_options(QUICK))


def forget() -> None:
    """Forget all runs and programs, for a test that changes a network."""
    for cached in (observe, variable_shapes, program):
        cached.cache_clear()


def draw(random: np.random.Generator, name: str, shape: tuple[int, ...], scale: float) -> Array:
    """Draw the values of the variable `name` so that maps keep their scale and nothing is 0."""
    if name == "kernel":
        drawn = random.normal(0.0, math.sqrt(2.0 / math.prod(shape[:-1])), shape)
    elif name == "var":
        drawn = random.uniform(0.5, 1.5, shape) * scale**2
    elif name == "scale":
        drawn = random.uniform(0.5, 1.5, shape)
    else:  # biases, means, and the coefficients of a subsampling
        drawn = random.normal(0.0, 0.5 * (scale if name == "mean" else 1.0), shape)
    return drawn.astype(np.float32)


def normal(random: np.random.Generator, *shape: int) -> Array:
    """Draw normal numbers f64[shape] that float32 represents exactly."""
    return wide(random.normal(0.0, 1.0, shape).astype(np.float32))


def wide(x: Any) -> Array:
    """Convert an array to float64."""
    return np.asarray(x, np.float64)


def by_layer(*trees: Any) -> dict[str, dict[str, Array]]:
    """Collect the leaves of trees of variables as {path of the layer: {name: f64[...]}}."""
    found: dict[str, dict[str, Array]] = {}
    for tree in trees:
        for path, leaf in flatten_dict(tree).items():
            found.setdefault("/".join(path[:-1]), {})[path[-1]] = wide(leaf)
    return found


def compare(found: Any, stated: Array, what: str) -> None:
    """Raise Otherwise, beginning with `what`, unless `found` equals `stated` up to rounding.

    Raises ValueError if `stated` is 0 everywhere, since then nothing would be compared.
    """
    found = wide(found)
    if found.shape != stated.shape:
        raise Otherwise(f"{what}: the shape is {found.shape}, not {stated.shape}")
    largest = np.abs(stated).max()
    if not largest > 0:
        raise ValueError(f"{what}: all values are 0")
    error = np.abs(found - stated).max() / largest
    if not error <= TOLERANCE:
        raise Otherwise(f"{what} differs by {error:.1g} of the largest value")


def function_check(check: Callable[..., None]) -> Callable[..., str]:
    """Make a check that returns of one that raises Otherwise: AS_STATED, or what is otherwise."""

    @functools.wraps(check)
    def run(**arguments: Any) -> str:
        try:
            check(**arguments)
        except Otherwise as e:
            return str(e)
        return AS_STATED

    return run
