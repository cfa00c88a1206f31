"""What a user can run into: each is one line on stderr and an exit code of its own."""


class UserError(Exception):
    """The message names the thing and the remedy."""

    code = 2


class ConfigError(UserError):
    """A wrong flag, key, type, name or path."""


class DataError(UserError):
    """Data or a checkpoint that is missing, damaged or incomplete."""

    code = 3


class NotFinite(UserError):
    """The loss is infinite or not a number."""

    code = 4


class Stopped(UserError):
    """A signal came; the run is saved and goes on when it is started again."""

    code = 75
