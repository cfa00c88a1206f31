"""Measure what a gray square at each place of an image changes (Zeiler & Fergus 2014, 4.2)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.evaluate.predict import Predictor
from cnn_archs.training.layer_stats import ModulePath
from cnn_archs.visualize.layers import output_of

SIDE = 50 / 224  # of the square, as a part of the image's; about that of figure 7
PLACES = 28  # of the square along an axis, at most
GRAY = 128


class Occlusion(NamedTuple):
    """The outputs of a network for an image with a square at each of P x Q places.

    activity: f32[P, Q], the sum over the map of the layer that is strongest without the square.
    number: of that map. probability: f32[P, Q], of the class `label`. predicted: i[P, Q]. tops,
    lefts: the first row and column of the square, in pixels of the network's input. side: its
    height and width.
    """

    label: int
    number: int
    activity: np.ndarray
    probability: np.ndarray
    predicted: np.ndarray
    tops: np.ndarray
    lefts: np.ndarray
    side: int


def make_occlude(run: Predictor, path: ModulePath) -> Callable[[np.ndarray, int], Occlusion]:
    """Return the function (image u8[H, W, C], label) -> what a gray square at each place changes.

    path: the layer whose strongest map is observed. label: the class whose probability is.
    """
    output, model = output_of(run, path), run.experiment.model
    inside = run.experiment.image_shape[:2]
    side = max(1, round(SIDE * min(inside)))
    tops, lefts = (places(n, side) for n in inside)
    corners = np.stack(np.meshgrid(tops, lefts, indexing="ij"), -1).reshape(-1, 2)
    at_once = min(run.experiment.eval_batch_size, len(corners))

    @jax.jit
    def activity_of(x: jax.Array) -> jax.Array:
        return jnp.maximum(output(x), 0).astype(jnp.float32).sum((1, 2))

    @jax.jit
    def measure(x: jax.Array, gray: jax.Array, corners: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the activity of each map and the probabilities, f32[B, ...], by corner i[B, 2]."""
        rows, columns = jnp.arange(inside[0])[None, :, None], jnp.arange(inside[1])[None, None]
        top, left = (corners[:, i, None, None] for i in (0, 1))
        covered = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
        covering = jnp.where(covered[..., None], gray[None], x[None])
        heads: Any = model.apply(run.variables, covering, train=False)
        return activity_of(covering), jax.nn.softmax(heads["logits"].astype(jnp.float32))

    def occlude(image: np.ndarray, label: int) -> Occlusion:
        x, gray = run.prepare(None, jnp.asarray(np.stack([image, np.full_like(image, GRAY)])))
        number = int(activity_of(x[None])[0].argmax())
        activities, probabilities = [], []
        for start in range(0, len(corners), at_once):
            some = corners[start : start + at_once]
            filled = jnp.asarray(np.resize(some, (at_once, 2)))  # one compiled program for all
            found = measure(x, gray, filled)
            activities.append(np.asarray(found[0])[: len(some), number])
            probabilities.append(np.asarray(found[1])[: len(some)])
        p, grid = np.concatenate(probabilities), (len(tops), len(lefts))
        return Occlusion(
            label=label,
            number=number,
            activity=np.concatenate(activities).reshape(grid),
            probability=p[:, label].reshape(grid),
            predicted=p.argmax(-1).reshape(grid),
            tops=tops,
            lefts=lefts,
            side=side,
        )

    return occlude


def places(length: int, side: int) -> np.ndarray:
    """Return at most PLACES even places of a square on an axis of `length` pixels, the ends too."""
    last = length - side
    return np.unique(np.linspace(0, last, min(PLACES, last + 1)).round().astype(int))
