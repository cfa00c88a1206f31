"""Let XLA parse XLA_FLAGS, in a process of its own: XLA ends the process if it knows a flag not."""


def parse_flags() -> None:
    """Parse XLA_FLAGS as the first program that is compiled does, without a device."""
    from jaxlib import xla_client

    xla_client.CompileOptions()
