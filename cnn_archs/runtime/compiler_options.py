"""Find out which of XLA's options and flags the installed jaxlib supports.

XLA drops options from one version to the next. An unknown compiler option is an error at
compilation; an unknown flag in XLA_FLAGS ends the process without a traceback.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jax

from cnn_archs.runtime.own_process import process_command

PARSE_SECONDS = 300  # for a subprocess to parse flags, on a machine that is busy
# XLA records operations of these kinds into CUDA graphs. A value of the option replaces XLA's own
# list, which has all of these but the last two.
GRAPH_OPTION = "xla_gpu_enable_command_buffer"
IN_GRAPHS = (
    *("FUSION", "CUBLAS", "CUBLASLT", "CUDNN", "CUSTOM_CALL", "DYNAMIC_SLICE_FUSION"),
    *("CONDITIONAL", "COLLECTIVES_KERNEL"),
    *("WHILE", "CONVOLUTION"),
)


def supported_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of `options` that the compiler of the default backend accepts.

    Each set of options is tried once per process, on an empty program, which takes 8 ms if all
    are supported (jaxlib 0.12 on one core). Starts the backend. Values must be hashable.
    """
    if compiler_accepts(tuple(options.items())):
        return dict(options)
    return {name: value for name, value in options.items() if compiler_accepts(((name, value),))}


@cache
def compiler_accepts(options: tuple[tuple[str, Any], ...]) -> bool:
    """Return whether an empty program compiles with these (name, value) pairs."""
    try:
        jax.jit(lambda: None).lower().compile(compiler_options=dict(options))
    except jax.errors.JaxRuntimeError:
        return False
    return True


def supported_flags(flags: Sequence[str]) -> list[str]:
    """Return the part of `flags`, such as "--xla_name=value", that XLA_FLAGS may contain.

    A subprocess parses all of them and, if that fails, one subprocess parses each: 0.3 s per
    subprocess. No device is used.
    """
    return (
        list(flags)
        if xla_accepts(" ".join(flags))
        else [flag for flag in flags if xla_accepts(flag)]
    )


@cache
def xla_accepts(xla_flags: str) -> bool:
    """Return whether XLA accepts `xla_flags` as the value of XLA_FLAGS."""
    try:
        done = subprocess.run(
            process_command("cnn_archs.runtime.flag_parser:parse_flags"),
            env={**os.environ, "XLA_FLAGS": xla_flags},
            capture_output=True,
            timeout=PARSE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def fast_compile_options() -> dict[str, Any] | None:
    """Return options that favor compile time on a CPU, for programs that run once; else None."""
    if jax.default_backend() != "cpu":
        return None
    return supported_options(
        {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    )


def is_cuda() -> bool:
    """Return whether the default backend is CUDA. Starts the backend."""
    return jax.default_backend() == "gpu" and "cuda" in jax.devices()[0].client.platform_version


def cuda_graph_options(wanted: bool) -> dict[str, Any]:
    """Return the compiler option that makes one CUDA graph of a program with its loops, or {}.

    The kernels of a graph are launched together, without the host. There is no option if it is not
    `wanted`, if the backend is not CUDA, if the compiler does not know loops or convolutions in
    graphs, and if XLA_FLAGS sets the option already.
    """
    if not wanted or not is_cuda() or GRAPH_OPTION in os.environ.get("XLA_FLAGS", ""):
        return {}
    every = supported_options({GRAPH_OPTION: ",".join(IN_GRAPHS)})
    if every:
        return every
    known = [kind for kind in IN_GRAPHS if supported_options({GRAPH_OPTION: kind})]
    return {GRAPH_OPTION: ",".join(known)} if {"WHILE", "CONVOLUTION"} <= {*known} else {}
