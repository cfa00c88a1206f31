"""Errors of damaged data: one line that names what is damaged."""

from collections.abc import Iterator
from contextlib import contextmanager

from cnn_archs.errors import DataError, UserError, first_line


@contextmanager
def data_errors(what: str) -> Iterator[None]:
    """Turn any exception of a reader inside into a DataError about `what`.

    A UserError passes unchanged.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as e:
        raise damage_error(what, e) from e


def damage_error(what: str, e: Exception) -> DataError:
    """Return a DataError of one line: `what` is damaged, or the system cannot read it."""
    if isinstance(e, OSError) and e.errno is not None:
        return DataError(f"cannot read {what}: {e.strerror}")
    return DataError(f"damaged data: {what}: {first_line(e)}")
