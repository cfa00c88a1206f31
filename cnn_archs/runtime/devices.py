"""Explain in one line why jax has no device of the kind that the user asked for."""

import logging
import os
import sys

from cnn_archs.errors import ConfigError, first_line
from cnn_archs.runtime.console import print_notes


def no_device_error(reason: str) -> ConfigError:
    """Return the error of a process in which jax cannot start. reason: the last line of jax's."""
    if reason == "AssertionError":  # which jax raises for a kind that it was installed without
        reason = "it is not installed"
    asked = os.environ.get("JAX_PLATFORMS", "")
    if not asked:
        return ConfigError(f"jax finds no device: {reason}")
    return ConfigError(
        f"jax finds no device of the kind that JAX_PLATFORMS={asked} asks for ({reason}): unset "
        "JAX_PLATFORMS, set it to cpu, or install jax for that kind of device"
    )


def find_device_error() -> ConfigError | None:
    """Return why jax has no devices in this process; None if it has some, or is not imported."""
    if "jax" not in sys.modules:
        return None
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as e:
        return no_device_error(first_line(e))
    return None


def shorten_plugin_errors() -> None:
    """Print a note of one line where jax logs that a device's plugin cannot start.

    Without a driver, for example, jax logs a traceback and goes on with the devices that it finds.
    """
    logging.getLogger("jax._src.xla_bridge").addFilter(print_as_note)


def print_as_note(record: logging.LogRecord) -> bool:
    """Print a record of an exception as a note of one line; return whether it is logged too."""
    if not record.exc_info or not record.exc_info[1]:
        return True
    print_notes([f"{record.getMessage()}: {first_line(record.exc_info[1])}"])
    return False
