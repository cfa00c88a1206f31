"""Ask the installed jaxlib which of XLA's options and flags it knows.

XLA drops options from one version to the next. A compiler option that it does not know is an error
at compilation; an unknown flag in XLA_FLAGS ends the process without a traceback.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jax


def supported_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `options` that the compiler of the default backend accepts.

    Each set of options is tried once in a process, on an empty program: 8 ms where all are known
    (jaxlib 0.12 on one core). Starts the backend. Values must be hashable.
    """
    if compiler_accepts(tuple(options.items())):
        return dict(options)
    return {name: value for name, value in options.items() if compiler_accepts(((name, value),))}


@cache
def compiler_accepts(options: tuple[tuple[str, Any], ...]) -> bool:
    """Say whether the empty program compiles with these (name, value) pairs."""
    try:
        jax.jit(lambda: None).lower().compile(compiler_options=dict(options))
    except jax.errors.JaxRuntimeError:
        return False
    return True


def supported_flags(flags: Sequence[str]) -> list[str]:
    """Return those of `flags`, such as "--xla_name=value", that may stand in XLA_FLAGS.

    Processes of their own parse them, all at once and then, if that fails, one by one: 0.3 s each.
    They use no device.
    """
    return (
        list(flags)
        if xla_accepts(" ".join(flags))
        else [flag for flag in flags if xla_accepts(flag)]
    )


@cache
def xla_accepts(xla_flags: str) -> bool:
    """Say whether XLA accepts `xla_flags` as the value of XLA_FLAGS."""
    done = subprocess.run(
        [sys.executable, "-c", "from jaxlib import xla_client; xla_client.CompileOptions()"],
        env={**os.environ, "XLA_FLAGS": xla_flags},
        capture_output=True,
    )
    return done.returncode == 0


def fast_compile_options() -> dict[str, Any] | None:
    """Return compiler options for a program that runs once: on a CPU, quick to compile."""
    if jax.default_backend() != "cpu":
        return None
    return supported_options(
        {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    )
