"""Only options and flags that the installed jaxlib supports are passed to it."""

import jax
import pytest

from cnn_archs import config as configs
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import start_experiment
from cnn_archs.runtime import backend
from cnn_archs.runtime.compiler_options import compiler_accepts, supported_flags, supported_options

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
