"""Only options and flags that the installed jaxlib supports are passed to it."""

import jax
import pytest

from cnn_archs import config as configs
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import start_experiment
from cnn_archs.runtime import backend, compiler_options
from cnn_archs.runtime.compiler_options import (
    GRAPH_OPTION,
    IN_GRAPHS,
    compiler_accepts,
    cuda_graph_options,
    supported_flags,
    supported_options,
)

SPLIT = {"xla_cpu_parallel_codegen_split_count": 1}
UNKNOWN = {"xla_cpu_no_such_option": True}
MISTYPED = {"xla_llvm_disable_expensive_passes": "perhaps"}


def test_only_what_the_compiler_accepts_is_known():
    assert supported_options({**UNKNOWN, **SPLIT, **MISTYPED}) == SPLIT
    assert supported_options(UNKNOWN) == {} == supported_options({})


@pytest.mark.parametrize("options", [UNKNOWN, MISTYPED])
def test_what_is_not_known_would_end_a_compilation(options):
    with pytest.raises(jax.errors.JaxRuntimeError, match=next(iter(options))):
        jax.jit(lambda x: x, compiler_options=options)(1.0)


def test_each_set_is_asked_once():
    compiler_accepts.cache_clear()
    for _ in range(3):
        supported_options(SPLIT)
        supported_options({**SPLIT, **UNKNOWN})
    assert compiler_accepts.cache_info().misses == 3  # SPLIT, both, UNKNOWN


def test_only_flags_that_xla_parses_are_known():
    flags = ["--xla_backend_optimization_level=0", "--xla_no_such_flag=1"]
    assert supported_flags(flags) == flags[:1]


def test_determinism_is_never_dropped_in_silence(monkeypatch):
    monkeypatch.setattr(backend, "supported_flags", lambda flags: [])
    config = configs.load_config("lenet5_digits", ["deterministic=true"])
    with pytest.raises(ConfigError, match="--xla_gpu_deterministic_ops"):
        start_experiment(config)


def test_a_graph_of_whole_loops_is_asked_for_on_cuda_where_the_compiler_knows_them(monkeypatch):
    """The compiler of a CPU knows the option as well, and ignores it."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert cuda_graph_options(True) == {}  # not CUDA
    monkeypatch.setattr(compiler_options, "is_cuda", lambda: True)
    assert cuda_graph_options(False) == {}
    known = cuda_graph_options(True)[GRAPH_OPTION].split(",")
    assert {"FUSION", "CUSTOM_CALL", "WHILE", "CONVOLUTION"} <= {*known} <= {*IN_GRAPHS}
    monkeypatch.setattr(compiler_options, "IN_GRAPHS", ("NOT_YET", *IN_GRAPHS))
    assert cuda_graph_options(True)[GRAPH_OPTION].split(",") == known
    monkeypatch.setattr(compiler_options, "IN_GRAPHS", IN_GRAPHS[:-1])  # a compiler without one
    monkeypatch.setattr(compiler_options, "supported_options", lambda options: {})
    assert cuda_graph_options(True) == {}
    monkeypatch.undo()
    monkeypatch.setattr(compiler_options, "is_cuda", lambda: True)
    monkeypatch.setenv("XLA_FLAGS", f"--{GRAPH_OPTION}=")  # the user's own choice
    assert cuda_graph_options(True) == {}
