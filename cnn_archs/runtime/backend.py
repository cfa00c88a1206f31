"""Configure jax before it uses its first device."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax

from cnn_archs.errors import ConfigError
from cnn_archs.runtime.allocation import keep_memory
from cnn_archs.runtime.compiler_options import supported_flags
from cnn_archs.runtime.library_call import library_call

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def configure_jax(*, deterministic: bool, matmul_precision: str) -> None:
    """Configure jax for this process; must run before any device is initialized.

    deterministic: use XLA's deterministic operations on a GPU. matmul_precision: precision of
    float32 products, as in `jax_default_matmul_precision`. Raises ConfigError if the installed
    jaxlib has no flag for deterministic operations.
    """
    if deterministic:
        if not supported_flags([DETERMINISTIC]):
            raise ConfigError(
                f"deterministic=True: the installed jaxlib does not know {DETERMINISTIC}"
            )
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    jax.config.update("jax_default_matmul_precision", matmul_precision)
    keep_memory()


@contextmanager
def jax_call(progress: bool = False) -> Iterator[None]:
    """Run the body, which uses jax, as a `library_call`, in 32 bits as a command runs it."""
    with library_call(progress), jax.enable_x64(False):
        yield


@contextmanager
def jax_configured(*, deterministic: bool, matmul_precision: str) -> Iterator[None]:
    """Compute as `configure_jax` says during the body, in a process that belongs to the caller.

    The process may have used its devices before, and keeps its environment and settings. Raises
    ConfigError if there is a GPU and this process began without the flag for deterministic
    operations.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    if deterministic and jax.default_backend() == "gpu" and DETERMINISTIC not in flags:
        raise ConfigError(
            "deterministic=true cannot be set in a process that uses its GPU already: start a new "
            f"one with XLA_FLAGS={DETERMINISTIC} in its environment"
        )
    with jax.default_matmul_precision(matmul_precision):
        yield
