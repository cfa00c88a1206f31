"""The rows of figure 9 (LeCun et al. 1998) that are no networks, each a method with its settings.

Two of them take the place of LeNet-4's last layer, and need a run of that network.

The paper prints k = 3 for the deslanted digits, 40 components, 10 times 100 units and degrees 4 and
9. Its tangent distance is that of digits of 16x16 pixels.
Deviations: k of the digits that are not deslanted is 3 too. The widths of the Gaussian units, the
    regularization of their linear layer, and the kernel's constant and penalty of the support
    vector machine are ours, because the paper does not print them. The outputs of the pairwise
    units are squashed, of which the paper says nothing. That was chosen on held-out training images
    (17.9 for 43.1 % errors, of 3,000 after training on 10,000), after a first run of all images
    without it had 30.4 % test error. The paper says that gradient descent and solving linear
    systems gave similar results; here they are solved. Tangent distance: the smoothing, the spring
    and the number of candidates are ours; the paper only says that a cheaper distance chooses
    these. k of LeNet-4's states, and k and the weight decay of local learning, are ours.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

Form = Literal["regular", "deslanted", "reduced"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the figure.

    method: one of `methods.METHODS`, with its settings `knobs`. form: of the images. seeds: of the
    random numbers; empty for a method that draws none, which counts as one network. network: the
    experiment whose last hidden layer gives the vectors, instead of the pixels; each network of a
    run of it counts.
    """

    method: str
    form: Form = "regular"
    knobs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    network: str = ""

    @property
    def draws_random_numbers(self) -> bool:
        """Tell whether the method, or the network below it, has seeds."""
        return bool(self.seeds or self.network)


ROWS: dict[str, Row] = {
    "linear": Row("linear"),
    "linear_deslanted": Row("linear", "deslanted"),
    "pairwise": Row("pairwise"),
    "nearest": Row("nearest", knobs={"k": 3}),
    "nearest_deslanted": Row("nearest", "deslanted", knobs={"k": 3}),
    "pca_quadratic": Row("pca_quadratic", knobs={"components": 40}),
    "rbf": Row("rbf", knobs={"units": 100, "width": 1.0, "ridge": 1e-6}, seeds=(0, 1, 2)),
    "tangent": Row(
        "nearest_by_tangents",
        "reduced",
        knobs={"candidates": 200, "sigma": 0.9, "spring": 0.01},
    ),
    "svm": Row("polynomial_svm", knobs={"degree": 4, "penalty": 1.0}),
    "svm_virtual": Row("virtual_svm", knobs={"degree": 9, "penalty": 1.0}),
    "lenet4_nearest": Row("nearest", knobs={"k": 3}, network="lenet4_mnist:4"),
    "lenet4_local": Row("local_linear", knobs={"k": 200, "ridge": 0.01}, network="lenet4_mnist:4"),
}


def describe(row: Row, examples: int) -> dict[str, Any]:
    """Return what decides a row's predictions, as it stands in a result file.

    examples: the number of training images to use; 0 for all.
    """
    return {
        "method": row.method,
        "form": row.form,
        "knobs": dict(row.knobs),
        "examples": examples,
        **({"network": row.network} if row.network else {}),
    }
