"""The rows of figure 9 (LeCun et al. 1998) that are no networks, each a method with its settings.

The paper prints k = 3 for the deslanted digits, 40 components, 10 times 100 units and degree 4.
Deviations: k of the digits that are not deslanted is 3 too. The widths of the Gaussian units, the
    regularization of their linear layer, and the kernel's constant and penalty of the support
    vector machine are ours, because the paper does not print them. The outputs of the pairwise
    units are squashed, of which the paper says nothing. That was chosen on held-out training images
    (17.9 for 43.1 % errors, of 3,000 after training on 10,000), after a first run of all images
    without it had 30.4 % test error. The paper says that gradient descent and solving linear
    systems gave similar results; here they are solved.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

Form = Literal["regular", "deslanted"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the figure.

    method: one of `methods.METHODS`, with its settings `knobs`. form: of the images. seeds: of the
    random numbers; empty for a method that draws none, which counts as one network.
    """

    method: str
    form: Form = "regular"
    knobs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = ()


ROWS: dict[str, Row] = {
    "linear": Row("linear"),
    "linear_deslanted": Row("linear", "deslanted"),
    "pairwise": Row("pairwise"),
    "nearest": Row("nearest", knobs={"k": 3}),
    "nearest_deslanted": Row("nearest", "deslanted", knobs={"k": 3}),
    "pca_quadratic": Row("pca_quadratic", knobs={"components": 40}),
    "rbf": Row("rbf", knobs={"units": 100, "width": 1.0, "ridge": 1e-6}, seeds=(0, 1, 2)),
    "svm": Row("polynomial_svm", knobs={"degree": 4, "penalty": 1.0}),
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
    }
