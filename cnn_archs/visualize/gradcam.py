"""Find where a network sees the class that it predicts: Grad-CAM (Selvaraju et al. 2017, 3).

The weight of each map is the mean over its positions of the gradient of the class score before the
softmax; the weighted sum of the maps, without its negative part, tells where the class is seen.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.predict import Predictor
from cnn_archs.layer_patterns import ModulePath
from cnn_archs.visualize.layers import check_layer, map_shapes


class Place(NamedTuple):
    """The maps of a network that are looked at: the output of a module, or its input."""

    path: ModulePath
    is_input: bool
    shape: tuple[int, int, int]

    @property
    def title(self) -> str:
        name = "/".join(self.path)
        return f"the maps before {name}" if self.is_input else f"the maps of {name}"


class Seen(NamedTuple):
    """The result of Grad-CAM for N images.

    where: f32[N, h, w], 0 or more. predicted: i[N]. probability: f32[N], of that class.
    """

    where: jax.Array
    predicted: jax.Array
    probability: jax.Array


def find_place(run: Predictor, layer: str) -> Place:
    """Return the output of `layer`, or for "" the last maps with more than one position.

    These are the input of the layer that makes one value out of each map, or, where a network
    flattens its maps between two layers, the output of the last layer that has maps. Raises
    ConfigError for a network without maps and for an unknown layer.
    """
    if layer:
        return Place(check_layer(run, layer), False, map_shapes(run)[layer])
    ends: list[Place] = []

    def note(following: Any, args: Any, kwargs: Any, context: Any) -> Any:
        out = following(*args, **kwargs)
        path = context.module.path
        if context.method_name == "__call__" and path and isinstance(out, jax.Array):
            x = args[0]
            if x.ndim == 4 and max(x.shape[1:3]) > 1 and max((1, *out.shape[1:-1])) == 1:
                ends.append(Place(path, True, x.shape[1:]))
        return out

    def traced(x: jax.Array) -> Any:
        with nn.intercept_methods(note):
            return run.experiment.model.apply(run.variables, x, train=False)

    jax.eval_shape(traced, jax.ShapeDtypeStruct((1, *run.experiment.image_shape), np.float32))
    maps = [(name, shape) for name, shape in map_shapes(run).items() if max(shape[:2]) > 1]
    if ends:
        return ends[-1]
    if not maps:
        raise ConfigError(f"--kind=gradcam: {run.experiment.name} has no layer with maps")
    name, shape = maps[-1]
    return Place(tuple(name.split("/")), False, shape)


def make_gradcam(run: Predictor, place: Place) -> Callable[[np.ndarray], Seen]:
    """Return the jitted function from images u8[N, H, W, C] to what `place` shows of them."""
    model = run.experiment.model

    @jax.jit
    def seen(images: jax.Array) -> Seen:
        x = run.prepare(None, images)

        def score(added: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            kept: list[jax.Array] = []

            def hook(following: Any, args: Any, kwargs: Any, context: Any) -> Any:
                if context.module.path != place.path or context.method_name != "__call__":
                    return following(*args, **kwargs)
                if place.is_input:
                    kept.append(args[0] + added)
                    return following(kept[-1], *args[1:], **kwargs)
                kept.append(following(*args, **kwargs) + added)
                return kept[-1]

            with nn.intercept_methods(hook):
                heads: Any = model.apply(run.variables, x, train=False)
            logits = heads["logits"]
            return logits.max(-1).sum(), (kept[-1], logits)

        nothing = jnp.zeros((len(x), *place.shape), model.dtype)
        gradients, (maps, logits) = jax.grad(score, has_aux=True)(nothing)
        wide = jnp.promote_types(maps.dtype, jnp.float32)
        weights = gradients.astype(wide).mean((1, 2))
        where = nn.relu(jnp.einsum("nhwc,nc->nhw", maps.astype(wide), weights))
        probabilities = jax.nn.softmax(logits.astype(jnp.float32))
        return Seen(where, logits.argmax(-1), probabilities.max(-1))

    return seen
