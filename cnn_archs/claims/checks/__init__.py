"""Statements of the papers that are checked exactly, from our own networks and recipes.

A check takes the arguments that a claim names and returns what it finds, computed now: a number,
a word, a truth value, or a list of these. A list for an argument of EACH is answered by a list,
a finding for each. Nothing is trained, and no dataset is read. A mistake in the arguments is a
ValueError, KeyError or TypeError, or a UserError of the configs.
"""

import functools
from collections.abc import Callable
from typing import Any

from cnn_archs.claims.checks import examples, networks, recipes

EACH = ("model", "layer", "key", "split")


def for_each(check: Callable[..., Any]) -> Callable[..., Any]:
    """`check`, which also takes a list for an argument of EACH."""

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
