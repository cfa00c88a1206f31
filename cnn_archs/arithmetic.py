"""Integer arithmetic."""


def ceil_div(a: int, b: int) -> int:
    """Return a / b rounded up to a whole number, computed exactly."""
    return -(-a // b)
