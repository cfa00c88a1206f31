"""Turn errors of the system and of its devices into errors for the user."""

from collections.abc import Iterator
from contextlib import contextmanager

from cnn_archs.errors import DataError
from cnn_archs.runtime.devices import find_device_error


@contextmanager
def system_errors() -> Iterator[None]:
    """Turn an error of the body that is the system's into a UserError of one line.

    It is a DataError for a file or folder that cannot be used, and a ConfigError if jax has no
    device of the kind that the user asked for. BrokenPipeError passes, and so do all others.
    """
    try:
        yield
    except (RuntimeError, AssertionError) as e:
        error = find_device_error()
        if error is None:
            raise
        raise error from e
    except BrokenPipeError:
        raise
    except OSError as e:  # a folder that may not be entered, a disk that fails
        raise DataError(f"cannot use {e.filename or 'a file'}: {e.strerror or e}") from e
