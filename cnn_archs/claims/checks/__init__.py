"""Checks that compute exactly what a paper states, from this package's networks and recipes.

A check takes the arguments that a claim gives and returns what it finds: a number, a word, a truth
value, or a list of these. If an argument of EACH is a list, the check returns a list with one
finding for each element. Nothing is trained, and no dataset is read. Wrong arguments raise
ValueError, KeyError, TypeError, or a UserError of the configs.
"""

import functools
from collections.abc import Callable
from typing import Any

from cnn_archs.claims.checks import examples, networks, recipes

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


CHECKS: dict[str, Callable[..., Any]] = {
    **{c.__name__: for_each(networks.of_one_layer(c)) for c in networks.LAYER},
    **{c.__name__: for_each(networks.of_network(c)) for c in networks.LAYERS},
    **{
        check.__name__: for_each(check)
        for check in (
            *(networks.count, networks.units, networks.depth, networks.ratio, networks.heads),
            *(recipes.setting, recipes.rates, recipes.steps, recipes.epochs, recipes.views),
            *(recipes.scales, recipes.update),
            *(examples.convolution, examples.squash, examples.lrn, examples.c3_table),
            *(examples.c3_uses, examples.stack_weights, examples.zeroed_unit, examples.drawings),
            *(examples.initial_biases, examples.initial_deviation, examples.initial_bound),
        )
    },
}
