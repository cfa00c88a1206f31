"""Checks that compute what a paper states, from this package's networks and recipes.

Most checks return the number that a paper prints. Those of FUNCTIONS compare what networks and
optimizers compute with the paper's formulas in numpy; those of SETTINGS only return what an
experiment's file states.

A check takes the arguments that a claim gives and returns what it finds: a number, a word, a truth
value, or a list of these. If an argument of EACH is a list, the check returns a list with one
finding for each element. Nothing is trained, and no dataset is read. Wrong arguments raise
ValueError, KeyError, TypeError, or a UserError of the configs.
"""

import functools
from collections.abc import Callable
from typing import Any

from cnn_archs.claims.checks import examples, networks, recipes
from cnn_archs.claims.checks.images import IMAGE_FUNCTIONS
from cnn_archs.claims.checks.layers import LAYER_FUNCTIONS
from cnn_archs.claims.checks.learning import LEARNING_FUNCTIONS
from cnn_archs.claims.checks.modules import MODULE_FUNCTIONS
from cnn_archs.claims.checks.testing import TEST_FUNCTIONS

EACH = ("model", "layer", "key", "split")


def for_each(check: Callable[..., Any]) -> Callable[..., Any]:
    """Return `check`, extended to accept a list for each argument of EACH."""

    @functools.wraps(check)
    def run(**arguments: Any) -> Any:
        for name in EACH:
            if isinstance(several := arguments.get(name), list):
                return [run(**{**arguments, name: one}) for one in several]
        return check(**arguments)

    return run


FUNCTIONS: dict[str, Callable[..., Any]] = {
    check.__name__: check
    for check in (
        *LAYER_FUNCTIONS,
        *MODULE_FUNCTIONS,
        *LEARNING_FUNCTIONS,
        *IMAGE_FUNCTIONS,
        *TEST_FUNCTIONS,
        examples.zeroed_unit,
    )
}
SETTINGS: dict[str, Callable[..., Any]] = {"setting": for_each(recipes.setting)}
CHECKS: dict[str, Callable[..., Any]] = {
    **FUNCTIONS,
    **SETTINGS,
    **{c.__name__: for_each(networks.of_one_layer(c)) for c in networks.LAYER},
    **{c.__name__: for_each(networks.of_network(c)) for c in networks.LAYERS},
    **{
        check.__name__: for_each(check)
        for check in (
            *(networks.count, networks.units, networks.depth, networks.ratio, networks.heads),
            *(recipes.rates, recipes.steps, recipes.epochs, recipes.views, recipes.scales),
            *(examples.convolution, examples.squash, examples.c3_table, examples.c3_uses),
            *(examples.stack_weights, examples.drawings),
            *(examples.initial_biases, examples.initial_deviation, examples.initial_bound),
        )
    },
}
