"""What calls over a session end in when they do not end in an answer."""

from collections.abc import Mapping

from ...wire.cbor import Value
from ...wire.errors import FieldpostError

Details = Mapping[str, Value]
"""By name, as in Python: what is `retry-after` on the wire is `retry_after` here."""


_MOST_SHOWN = 600


def _on_one_line(text: str) -> str:
    return "".join(mark if mark.isprintable() else " " for mark in text)


class SessionError(FieldpostError):
    """Root of the errors of a session's calls."""


class CommandError(SessionError):
    """
    What a handler raises to refuse what it was asked; the peer's call fails with CommandFailed, the session lives.

    The code is a short word for programs, the text is for people, the details are values that travel.
    """

    def __init__(self, code: str, text: str = "", **details: Value) -> None:
        super().__init__(text or code)
        self.code = code
        self.text = text
        self.details: Details = details


class CommandFailed(SessionError):
    """
    A call had no (whole) answer: the peer refused it, with its code, text and details, for which nobody else vouches.

    Of ours is the code `too-large`, for an answer that was not read to its end. As text it is fit for a log: short, and on
    one line; its members are as they came.
    """

    def __init__(self, code: str, text: str, details: Details) -> None:
        said = f"{text[:_MOST_SHOWN]} ({code})" if text else code
        super().__init__(f"the peer refused it: {_on_one_line(said[: 2 * _MOST_SHOWN])}")
        self.code = code
        self.text = text
        self.details = details


class SessionLost(SessionError):
    """
    There is no session (any more); of a call that was under way it is not known whether it was carried out.

    `reason` is the short word for it: the peer's, or one of ours.
    """

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(text or TEXTS.get(reason) or f"the session ended: {reason}")
        self.reason = reason


class SessionRefused(SessionLost):
    """One of the two sides did not agree to the session."""

    def __init__(
        self,
        reason: str,
        text: str,
        *,
        retry_after: float | None,
        by_peer: bool,
        versions: tuple[int, int] | None = None,
    ) -> None:
        who = "the peer" if by_peer else "this side"
        super().__init__(reason, f"{who} refused the session: {text or reason}")
        self.versions = versions
        """Oldest and newest that the peer speaks, when it is they that do not fit."""
        self.retry_after = retry_after
        self.by_peer = by_peer


class CallCancelled(SessionError):
    """The call was taken back by the one who made it."""


class TooManyCalls(SessionError):
    """More calls wait for their turn than are kept. Let some end before more are made."""


LOST = "lost"
"""The connection ended without a word."""
DEAD = "dead"
"""Nothing came any more, though it was asked for."""
SLOW = "slow"
"""The peer does not take what is sent to it."""

TEXTS = {
    DEAD: "nothing came from the peer any more; check the network",
    LOST: "the connection to the peer was lost",
    SLOW: "the peer takes what is sent to it too slowly; check the network, or what it is busy with",
    "replaced": "replaced by a new connection",
    "shutdown": "the peer is shutting down",
}
