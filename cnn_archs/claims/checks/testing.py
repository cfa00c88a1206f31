"""Checks of what a test computes of an image: its crops, and the mean of the predictions.

experiment: as in `recipes.py`. Each check returns AS_STATED, or says what is otherwise.
"""

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.claims.checks.images import factor, inputs_of
from cnn_archs.claims.checks.observed import SEED, compare, function_check, wide
from cnn_archs.claims.checks.recipes import passes, settings_of
from cnn_archs.data.datasets.splits import Split
from cnn_archs.distributed.mesh import make_mesh
from cnn_archs.evaluate.protocols import mean_probabilities
from cnn_archs.experiment import Classifier
from cnn_archs.models.network import Network

CLASSES, IMAGES = 5, 2


class Linear(Network):
    """A network whose logits are weighted sums of the pixels."""

    num_classes = CLASSES

    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, CLASSES]."""
        kernel: jax.Array = self.get_variable("params", "kernel")
        flat = image.reshape(len(image), -1)
        return {"logits": jnp.matmul(flat, kernel, precision="highest")}


@function_check
def ten_crop_means(experiment: str, side: int) -> None:
    """Check that a test averages the softmax over corners, center, and their mirror images.

    side: pixels of the square of which the crops are parts.
    """
    random, inputs = np.random.default_rng(SEED), inputs_of(experiment)
    height, width, channels = shape = settings_of(experiment).image_shape
    pixels = random.integers(0, 256, (IMAGES, side, side, channels), dtype=np.uint8)
    mean = random.uniform(90.0, 150.0, (side, side, channels)).astype(np.float32)
    kernel = random.normal(0.0, 0.03, (height * width * channels, CLASSES))
    kernel = (kernel / (255 * factor(inputs))).astype(np.float32)
    found = mean_probabilities(
        Classifier(Linear(), shape, CLASSES, inputs),
        [{"params": {"kernel": kernel}}],
        Split(pixels, np.zeros(IMAGES, np.int32), tuple("abcde")),
        passes(experiment, "ten_crop")[0],
        {"mean": mean},
        IMAGES,
        make_mesh(1),
    )
    x = (wide(pixels) - mean) * factor(inputs)
    last, center = side - height, (side - height) // 2
    total = np.zeros((IMAGES, CLASSES))
    for top, left in ((0, 0), (0, last), (last, 0), (last, last), (center, center)):
        crop = x[:, top : top + height, left : left + width]
        for view in (crop, crop[:, :, ::-1]):
            logits = view.reshape(IMAGES, -1) @ wide(kernel)
            p = np.exp(logits - logits.max(-1, keepdims=True))
            total += p / p.sum(-1, keepdims=True) / 10
    compare(found.by_network[0], total, "the mean probabilities")


TEST_FUNCTIONS = (ten_crop_means,)
