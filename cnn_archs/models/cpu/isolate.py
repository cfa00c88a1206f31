"""A part of a program that XLA compiles by itself, so that its result is written out once.

XLA:CPU fuses a chain of cheap operations into each operation that reads its end, where it is then
computed again, often many times. It drops optimization barriers before it fuses. A call that must
not be inlined is not fused with anything outside it, and costs nothing by itself.
"""

from collections.abc import Callable

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def apart(function: Callable[..., jax.Array], *arguments: jax.Array) -> jax.Array:
    """Return function(*arguments), computed once, in a call that XLA does not inline.

    Of use in rules of `jax.custom_vjp` and where there is no derivative: JAX would divide the call
    into what depends on a tangent and what does not. `function` should be made of lax's operations:
    many of jnp's are calls themselves, which are not inlined either once `jax.vmap` has rewritten
    them.
    """

    def inside(*arguments: jax.Array) -> jax.Array:
        with set_xla_metadata(inlineable=None):
            return function(*arguments)

    with set_xla_metadata(inlineable="false"):
        return jax.jit(inside)(*arguments)
