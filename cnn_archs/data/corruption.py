"""Whatever goes wrong while data is read is one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from cnn_archs.errors import DataError, UserError, first_line


@contextmanager
def data_errors(what: str) -> Iterator[None]:
    """Whatever a reader raises here means damaged data, but for what is ours already."""
    try:
        yield
    except UserError:
        raise
    except Exception as e:
        raise damage_error(what, e) from e


def damage_error(what: str, e: Exception) -> DataError:
    """One line that names `what`, with the first line of the reader's own."""
    return DataError(f"damaged data: {what}: {first_line(e)}")
