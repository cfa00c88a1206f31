"""A part of a program that XLA compiles separately, so that its result is computed once.

XLA:CPU fuses a chain of cheap operations into each operation that reads the end of the chain, and
computes the chain again there, often many times. It removes optimization barriers before it fuses.
A call that must not be inlined is not fused with anything outside it, and costs nothing by itself.
"""

from collections.abc import Callable

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def isolate(function: Callable[..., jax.Array], *arguments: jax.Array) -> jax.Array:
    """Return function(*arguments), computed once, in a call that XLA does not inline.

    Use it where nothing is differentiated through it, for example in the rules of a
    `jax.custom_vjp`: JAX would divide the call into a part that depends on a tangent and one that
    does not. `function` should consist of operations of lax: many of jnp's are calls themselves,
    which are not inlined either once `jax.vmap` has rewritten them.
    """

    def inside(*arguments: jax.Array) -> jax.Array:
        with set_xla_metadata(inlineable=None):
            return function(*arguments)

    with set_xla_metadata(inlineable="false"):
        return jax.jit(inside)(*arguments)
