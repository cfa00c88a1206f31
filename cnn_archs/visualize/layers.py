"""Find the layers of a trained network, and what they put out."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from cnn_archs.errors import ConfigError, closest_word
from cnn_archs.evaluate.predict import Predictor
from cnn_archs.layer_patterns import ModulePath
from cnn_archs.models.summary import summarize
from cnn_archs.training.layer_stats import subtree

MOST_LAYERS = 24  # rows of features.png, at most


def called_modules(run: Predictor) -> list[ModulePath]:
    """List the modules of the network in the order in which they are called."""
    called: list[ModulePath] = []

    def note(module: Any, method: str) -> bool:
        if method == "__call__" and module.path:
            called.append(module.path)
        return False

    def traced(x: jax.Array) -> Any:
        options: Any = dict(capture_intermediates=note, mutable=["intermediates"])
        return run.experiment.model.apply(run.variables, x, train=False, **options)

    jax.eval_shape(traced, jax.ShapeDtypeStruct((1, *run.experiment.image_shape), np.float32))
    return called


def feature_maps(
    run: Predictor, called: Sequence[ModulePath], image: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    """Return (name, f32[H', W', C']) of at most MOST_LAYERS layers for an image u8[H, W, C]."""

    def capture(module: Any, method: str) -> bool:
        return method == "__call__" and len(module.path) == 1

    @jax.jit
    def outputs_of(images: jax.Array) -> Any:
        options: Any = dict(capture_intermediates=capture, mutable=["intermediates"])
        x = run.prepare(None, images)
        _, kept = run.experiment.model.apply(run.variables, x, train=False, **options)
        return {name: inner["__call__"][0] for name, inner in kept["intermediates"].items()}

    outputs = outputs_of(image[None])
    names = [path[0] for path in dict.fromkeys(called) if len(path) == 1]
    maps = [(n, outputs[n]) for n in names if getattr(outputs[n], "ndim", 0) == 4]
    maps = [(n, np.asarray(m[0], np.float32)) for n, m in maps if max(m.shape[1:3]) > 1]
    some = np.unique(np.linspace(0, len(maps) - 1, min(MOST_LAYERS, len(maps))).round().astype(int))
    return [maps[i] for i in some]


def output_of(run: Predictor, path: ModulePath) -> Callable[[jax.Array], jax.Array]:
    """Return the function from inputs f32[N, H, W, C] to the maps of the layer, [N, h, w, maps]."""

    def capture(module: Any, method: str) -> bool:
        return method == "__call__" and module.path == path

    def output(x: jax.Array) -> jax.Array:
        options: Any = dict(capture_intermediates=capture, mutable=["intermediates"])
        _, kept = run.experiment.model.apply(run.variables, x, train=False, **options)
        return subtree(kept["intermediates"], path)["__call__"][0]

    return output


def last_convolution(run: Predictor) -> str:
    """Return the name of the last convolution whose output has more than one position.

    Raises ConfigError if there is none.
    """
    shapes = map_shapes(run)
    rows = summarize(run.experiment.model, run.experiment.image_shape)
    found = [r.name for r in rows if r.type == "conv" and max(r.out[:2]) > 1 and r.name in shapes]
    if not found:
        raise ConfigError(f"{run.experiment.name} has no convolution with a map to look at")
    return found[-1]


def map_shapes(run: Predictor) -> dict[str, tuple[int, int, int]]:
    """Return {name: (H, W, C)} of the layers whose output is a map, in the order of their calls.

    A module that is called twice, or that is inside of a loop over equal blocks, is left out.
    """
    found: dict[str, tuple[int, int, int]] = {}
    calls: list[str] = []

    def note(following: Any, args: Any, kwargs: Any, context: Any) -> Any:
        out = following(*args, **kwargs)
        if context.method_name == "__call__" and context.module.path:
            name = "/".join(context.module.path)
            calls.append(name)
            maps = isinstance(out, jax.Array) and out.ndim == 4
            if maps and not isinstance(context.module, nn.Dropout) and "_rest" not in name:
                found[name] = out.shape[1:]
        return out

    def traced(x: jax.Array) -> Any:
        with nn.intercept_methods(note):
            return run.experiment.model.apply(run.variables, x, train=False)

    jax.eval_shape(traced, jax.ShapeDtypeStruct((1, *run.experiment.image_shape), np.float32))
    return {name: shape for name, shape in found.items() if calls.count(name) == 1}


def check_layer(run: Predictor, layer: str) -> ModulePath:
    """Return the path of the layer called `layer`, as in `cnn-archs summarize`.

    Raises ConfigError if it has no maps, or if there is no such layer.
    """
    return find_name(run, layer, list(map_shapes(run)), " with maps")


def check_path(run: Predictor, layer: str) -> ModulePath:
    """Return the path of the layer called `layer`. Raises ConfigError if there is none."""
    return find_name(run, layer, list(dict.fromkeys(map("/".join, called_modules(run)))), "")


def find_name(run: Predictor, layer: str, names: Sequence[str], kind: str) -> ModulePath:
    """Return the path of the layer called `layer`. Raises ConfigError if `names` lacks it.

    kind: what is said of the layers that `names` has.
    """
    if layer in names:
        return tuple(layer.split("/"))
    near = closest_word(layer, names)
    outer = ", ".join(name for name in names if "/" not in name)
    hint = f"did you mean {near!r}?" if near else f"it has {outer or 'none'}"
    raise ConfigError(
        f"--layer={layer}: {run.experiment.name} has no layer of that name{kind}; {hint}"
    )
