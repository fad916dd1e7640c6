"""Failures that a person can act on: the message is all that they are shown."""


class EmbeddedError(Exception):
    """A start, step or stop that did not work."""


class AlreadyRunning(EmbeddedError):
    """Somebody else holds the data folder."""
