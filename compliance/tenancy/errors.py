"""What an action says when it refuses. The message is for the person who asked."""


class NotAllowed(Exception):
    """The actor's role does not permit this."""


class Refused(Exception):
    """The request makes no sense as things stand; the message says what to do instead."""


class Invalid(Refused):
    """What was given for one field is wrong in itself, whatever the state of things."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
