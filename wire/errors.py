"""The errors of what travels: whose fault, which code, and what to do about it."""


class FieldpostError(Exception):
    """
    Root of all our errors.

    The text of each is written for a person: it names the cause and the next step.
    """


class WireError(FieldpostError):
    """Root of the errors of `wire`."""


class LocalProtocolError(WireError):
    """We asked for something that the protocol does not allow: a mistake on this side."""


class RemoteProtocolError(WireError):
    """
    The peer sent something that the protocol does not allow.

    `code` is the short word that travels back to the peer or into the status; the text is for people.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Malformed(RemoteProtocolError):
    """Octets that are no value of ours, or a value of the wrong shape. Its code is `malformed`."""

    def __init__(self, text: str) -> None:
        super().__init__("malformed", text)


class TooLarge(RemoteProtocolError):
    """A length, a count or a depth above the limit that this side set. Its code is `too-large`."""

    def __init__(self, text: str) -> None:
        super().__init__("too-large", text)
