"""Configure jax before it uses its first device."""

import os

import jax

from cnn_archs.errors import ConfigError
from cnn_archs.runtime.allocation import keep_memory
from cnn_archs.runtime.compiler_options import supported_flags


def configure_jax(*, deterministic: bool, matmul_precision: str) -> None:
    """Configure jax for this process; must run before any device is initialized.

    deterministic: use XLA's deterministic operations on a GPU. matmul_precision: precision of
    float32 products, as in `jax_default_matmul_precision`. Raises ConfigError if the installed
    jaxlib has no flag for deterministic operations.
    """
    if deterministic:
        flag = "--xla_gpu_deterministic_ops=true"
        if not supported_flags([flag]):
            raise ConfigError(f"deterministic=True: the installed jaxlib does not know {flag}")
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    jax.config.update("jax_default_matmul_precision", matmul_precision)
    keep_memory()
