"""Compiles a training step for a single CPU; see `cnn_archs/models/cpu/training_step.py`."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from cnn_archs.distributed.mesh import is_cpu
from cnn_archs.models.cpu.step_convolution import over_three_axes
from cnn_archs.models.cpu.training_step import training_step
from cnn_archs.runtime.compiler_options import supported_options

ONEDNN = {"xla_cpu_experimental_onednn_custom_call": True}
NEVER = math.inf  # seconds; programs that compile for less time than this are not cached


def is_one_cpu(mesh: Mesh) -> bool:
    """Return whether `mesh` is a single CPU."""
    return mesh.size == 1 and is_cpu(mesh)


def jit_for_cpu(step: Callable[..., Any], *, onednn: bool, **options: Any) -> Callable[..., Any]:
    """Jit `step` with the `options` of `jax.jit`, using operations that are fast on one CPU.

    onednn: use oneDNN's convolutions, if this jaxlib has them.
    """
    onednn = onednn and has_onednn()

    def step_for_cpu(*arguments: Any) -> Any:
        with training_step(onednn=onednn):
            return step(*arguments)

    if not onednn:
        return jax.jit(step_for_cpu, **options)
    jitted = jax.jit(step_for_cpu, compiler_options=ONEDNN, **options)

    def uncached(*arguments: Any) -> Any:
        with no_persistent_cache():
            return jitted(*arguments)

    uncached.lower = jitted.lower  # type: ignore[attr-defined]
    return uncached


@cache
def has_onednn() -> bool:
    """Return whether this jaxlib's compiler uses oneDNN for convolutions under the option ONEDNN.

    jaxlib 0.10.2 accepts the option but ignores it. So a tiny convolution is compiled to find out,
    which takes 0.1 s.
    """
    if not supported_options(ONEDNN):
        return False
    convolve = partial(over_three_axes, strides=(1, 1), padding=((0, 0), (0, 0)))
    image, kernel = jnp.zeros((1, 4, 4, 8)), jnp.zeros((3, 3, 8, 8))
    with no_persistent_cache():
        program = jax.jit(convolve, compiler_options=ONEDNN).lower(image, kernel).compile()
    return "__onednn$convolution" in (program.as_text() or "")


@contextmanager
def no_persistent_cache() -> Iterator[None]:
    """Keep programs that are compiled inside out of the persistent compilation cache.

    jaxlib 0.12.0.1 crashes when it writes a program with oneDNN's operations. Each call of a jitted
    function needs this context, since arguments of new shapes compile it again. The context costs 4
    microseconds.
    """
    name = "jax_persistent_cache_min_compile_time_secs"
    seconds = getattr(jax.config, name)
    jax.config.update(name, NEVER)
    try:
        yield
    finally:
        jax.config.update(name, seconds)
