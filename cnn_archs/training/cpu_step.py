"""Compilation of a training step for one CPU; see `cnn_archs/models/cpu/training_step.py`."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from cnn_archs.models.cpu.step_convolution import over_three_axes
from cnn_archs.models.cpu.training_step import training_step
from cnn_archs.runtime.compiler_options import supported_options

ONEDNN = {"xla_cpu_experimental_onednn_custom_call": True}
NEVER = math.inf  # seconds that a program takes to compile at least, to be kept


def is_one_cpu(mesh: Mesh) -> bool:
    """Return whether `mesh` is a single CPU."""
    return mesh.size == 1 and mesh.devices.flat[0].platform == "cpu"


def jit(step: Callable[..., Any], *, onednn: bool, **options: Any) -> Callable[..., Any]:
    """Return `step` jitted with the `options` of `jax.jit`, in the forms that one CPU is fast at.

    onednn: with oneDNN's convolutions, if this jaxlib has them.
    """
    onednn = onednn and has_onednn()

    def written_for_cpu(*arguments: Any) -> Any:
        with training_step(onednn=onednn):
            return step(*arguments)

    if not onednn:
        return jax.jit(written_for_cpu, **options)
    jitted = jax.jit(written_for_cpu, compiler_options=ONEDNN, **options)

    def not_kept(*arguments: Any) -> Any:
        with programs_not_kept():
            return jitted(*arguments)

    not_kept.lower = jitted.lower  # type: ignore[attr-defined]
    return not_kept


@cache
def has_onednn() -> bool:
    """Return whether this jaxlib's compiler hands convolutions to oneDNN where ONEDNN asks for it.

    jaxlib 0.10.2 accepts the option and leaves all convolutions as they are. So a tiny one is
    compiled, which takes 0.1 s.
    """
    if not supported_options(ONEDNN):
        return False
    convolve = partial(over_three_axes, strides=(1, 1), padding=((0, 0), (0, 0)))
    image, kernel = jnp.zeros((1, 4, 4, 8)), jnp.zeros((3, 3, 8, 8))
    with programs_not_kept():
        program = jax.jit(convolve, compiler_options=ONEDNN).lower(image, kernel).compile()
    return "__onednn$convolution" in (program.as_text() or "")


@contextmanager
def programs_not_kept() -> Iterator[None]:
    """Keep nothing that is compiled inside in the persistent compilation cache.

    jaxlib 0.12.0.1 crashes when it writes a program with oneDNN's operations. Around every call of
    a jitted function, since one with other shapes compiles again; it takes 4 microseconds.
    """
    name = "jax_persistent_cache_min_compile_time_secs"
    seconds = getattr(jax.config, name)
    jax.config.update(name, NEVER)
    try:
        yield
    finally:
        jax.config.update(name, seconds)
