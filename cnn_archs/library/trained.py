"""Trained networks with their preprocessing: `cnn_archs.load`."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs import models
from cnn_archs.config import Config
from cnn_archs.config_keys import unknown_message
from cnn_archs.conversion import stored
from cnn_archs.errors import ConfigError, NotFinite, closest_word
from cnn_archs.evaluate.doubts import Doubts, find_doubts
from cnn_archs.evaluate.load import RestoredRun, load_run
from cnn_archs.evaluate.predict import Predictor, make_predictor
from cnn_archs.library.images import Item, image_batches
from cnn_archs.models import resnet
from cnn_archs.models.summary import summarize
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.backend import jax_call, jax_configured
from cnn_archs.training.layer_stats import subtree


class Predictions(NamedTuple):
    """The predictions of a network for images.

    labels: i64[N], the most probable class of each image. probabilities: f32[N, K], of all
    classes. names: the name of each label. notes: lines about images that the network probably
    does not see as they are meant, such as a black digit on white paper.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    names: tuple[str, ...]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainedNetwork:
    """A trained network and the preprocessing of its run, as `cnn_archs.load` returns it.

    Images can be given in each of these forms: an array u8[N, H, W, C], or u8[N, H, W] in gray;
    one image u8[H, W, C]; the path of an image file; an image of PIL; or a list of these. They
    hold raw pixels. Images of another size than those of the dataset are resized and cropped as
    the command `cnn-archs predict` does it.

    Attributes:
      model: the flax module.
      variables: its `params` and `batch_stats`, for `model.apply(variables, x, train=False)`
        where `x` is what `preprocess` returns.
      config: the complete config of the run.
      step: the training step at which the variables were saved; of stored weights, that of the
        run which they come from.
      class_names: the name of each label.
    """

    model: models.Network
    variables: dict[str, Any]
    config: Config
    step: int
    class_names: tuple[str, ...]
    saved: RestoredRun
    seed: int

    def __repr__(self) -> str:
        made = f"{self.saved.experiment.name} on {self.saved.experiment.dataset.name}"
        return f"TrainedNetwork({made}, step {self.step}, {self.saved.label!r})"

    def predict(self, images: Any, *, invert: bool = False) -> Predictions:
        """Predict the classes of images.

        Args:
          images: raw pixels or files, in one of the forms that the class describes.
          invert: whether the network gets the negatives of the images.

        Returns:
          `Predictions`: `labels` i64[N], `probabilities` f32[N, K], the `names` of the most
          probable classes, and `notes` about images that look unlike those of the training.

        Raises:
          cnn_archs.errors.ConfigError: if `images` is something else, such as an array of floats.
          cnn_archs.errors.DataError: if a file is missing, damaged or no image.
          cnn_archs.errors.NotFinite: if a probability is not finite.

        Example:
          >>> import cnn_archs
          >>> net = cnn_archs.load("runs/digits")
          >>> images, labels = cnn_archs.data.load("digits", "test")
          >>> found = net.predict(images)
          >>> found.labels.shape, found.probabilities.shape
          ((360,), (360, 10))
          >>> accuracy = (found.labels == labels).mean()
        """
        background, doubts = self.saved.experiment.dataset.background(), Doubts()

        def check(item: Item) -> None:
            doubts.add(item.name, find_doubts(item.encoded, item.image, background))

        found = self.over_batches(images, self.predictor.probabilities, check, invert)
        if not np.isfinite(found).all():
            raise NotFinite(f"{self.saved.label}: the probabilities are not finite")
        labels, notes = found.argmax(-1), doubts.notes(len(found), inverted=invert)
        return Predictions(labels, found, tuple(self.class_names[k] for k in labels), tuple(notes))

    def preprocess(self, images: Any) -> jax.Array:
        """Return what the network sees of images, as in evaluation.

        Args:
          images: raw pixels or files, in one of the forms that the class describes.

        Returns:
          f32[N, H, W, C], cropped, scaled and without the mean, as the run's config says.

        Raises:
          cnn_archs.errors.ConfigError: as in `predict`.
          cnn_archs.errors.DataError: as in `predict`.

        Example:
          >>> import cnn_archs
          >>> net = cnn_archs.load("runs/digits")
          >>> images, labels = cnn_archs.data.load("digits", "test")
          >>> x = net.preprocess(images[:4])
          >>> x.shape, x.dtype
          ((4, 32, 32, 1), dtype('float32'))
          >>> net.model.apply(net.variables, x, train=False)["logits"].shape
          (4, 10)
        """
        return jnp.asarray(self.over_batches(images, self.prepared))

    def features(self, images: Any, layer: str) -> np.ndarray:
        """Return the output of a layer for images, before the activation function that follows.

        Args:
          images: raw pixels or files, in one of the forms that the class describes.
          layer: the name of a layer, as `cnn-archs summarize` prints it.

        Returns:
          f32[N, H', W', C'] of a convolution or a pool, f32[N, C'] of a dense layer.

        Raises:
          cnn_archs.errors.ConfigError: for an unknown layer, with the nearest one, and as in
            `predict`.
          cnn_archs.errors.DataError: as in `predict`.

        Example:
          >>> import cnn_archs
          >>> net = cnn_archs.load("runs/digits")
          >>> images, labels = cnn_archs.data.load("digits", "test")
          >>> net.features(images[:4], layer="C3").shape
          (4, 10, 10, 16)
        """
        with jax_call():
            names = [row.name for row in summarize(self.model, self.saved.experiment.image_shape)]
            if layer not in names:
                name = self.saved.experiment.name
                raise ConfigError(unknown_message(name, layer, names, what="layer"))
        return self.over_batches(images, lambda u8: self.layer_of(u8, layer))

    @cached_property
    def predictor(self) -> Predictor:
        """The network with the statistics of its training images."""
        with jax_call():
            return make_predictor(self.saved, self.seed)

    @cached_property
    def prepared(self) -> Callable[[np.ndarray], jax.Array]:
        """The function from images u8[N, H, W, C], as evaluation delivers them, to `preprocess`."""
        return jax.jit(partial(self.predictor.prepare, None))

    @cached_property
    def layer_of(self) -> Callable[[np.ndarray, str], jax.Array]:
        """The function from images, as evaluation delivers them, and a layer to its output."""
        # Without a loop over its blocks each layer has its name.
        model, variables = self.model.unrolled(), self.variables
        if self.model.scan_blocks:
            variables = resnet.unstack(variables)

        @partial(jax.jit, static_argnames="layer")
        def compute(variables: Any, images: jax.Array, layer: str) -> jax.Array:
            x = self.predictor.prepare(None, images)
            return layer_outputs(model, variables, x, [layer])[0]

        return partial(compute, variables)

    def over_batches(
        self,
        images: Any,
        function: Callable[[np.ndarray], jax.Array],
        check: Callable[[Item], None] = lambda item: None,
        invert: bool = False,
    ) -> np.ndarray:
        """Return the f32 results of `function` for batches of images, joined.

        check: called with each image. invert: see `image_batches`.
        """
        experiment = self.saved.experiment
        with (
            jax_call(),
            jax_configured(
                deterministic=experiment.deterministic,
                matmul_precision=experiment.matmul_precision,
            ),
        ):
            parts = []
            for items in image_batches(images, experiment, invert):
                for item in items:
                    check(item)
                batch = np.stack([item.image for item in items])
                parts.append(np.asarray(function(batch), np.float32))
        return np.concatenate(parts)


def layer_outputs(
    model: models.Network, variables: dict[str, Any], x: jax.Array, layers: Sequence[str]
) -> list[jax.Array]:
    """Return the outputs of `layers`, names in the summary of `model`, for x f32[N, H, W, C]."""
    paths = [tuple(layer.split("/")) for layer in layers]

    def is_wanted(module: Any, method: str) -> bool:
        return method == "__call__" and module.path in paths

    options: Any = dict(capture_intermediates=is_wanted, mutable=["intermediates"])
    _, kept = model.apply(variables, x, train=False, **options)
    return [subtree(kept["intermediates"], path)["__call__"][0] for path in paths]


def load(what: str | os.PathLike[str], seed: int = 0) -> TrainedNetwork:
    """Load a trained network with its preprocessing, from the newest sound checkpoint of its run.

    Args:
      what: the folder of a run; or the name of weights that come with the package, such as
        "lenet5_mnist"; or a .safetensors file that `cnn-archs export --card` has written.
      seed: which of the seeds of the run, counted from 0.

    Returns:
      A `TrainedNetwork`, which has `predict`, `preprocess` and `features`.

    Raises:
      cnn_archs.errors.ConfigError: if there is no such run or seed.
      cnn_archs.errors.DataError: if there is no sound checkpoint.

    Example:
      >>> import cnn_archs
      >>> net = cnn_archs.load("runs/digits")
      >>> net.step, net.class_names[:3]
      (40, ('0', '1', '2'))
    """
    workdir = Path(what).expanduser()
    with jax_call():
        if workdir.is_dir() or not stored.is_weights(str(what)):
            near = closest_word(str(what), stored.list_weights())
            if near and not workdir.exists():
                raise ConfigError(f"there is no run in {workdir}; did you mean {near!r}?")
            return load_folder(workdir, seed)
        with stored.run_of_weights(str(what)) as run:
            network = load_folder(run, seed)
            _ = network.predictor  # it reads the run, which exists here only
            return network


def load_folder(workdir: Path, seed: int) -> TrainedNetwork:
    """Load the trained network of the run in `workdir`."""
    config = RunDir(workdir).config()
    saved = load_run(workdir)
    variables = saved.seed_variables(seed)
    experiment = saved.experiment
    names = experiment.class_names()
    step = RunDir(workdir).trained_steps(saved.step)
    return TrainedNetwork(experiment.model, variables, config, step, names, saved, seed)
