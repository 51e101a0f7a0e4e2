"""What an exchange asks of whatever carries it, and how the carriage may end."""

from collections.abc import Awaitable
from typing import Protocol

from attrs import frozen

from ...wire.payload import ClientPayload, ServerPayload


@frozen(kw_only=True)
class Request:
    """One payload to carry, with the identity and the token that go along."""

    payload: ClientPayload
    secure_id: bytes | None
    token: bytes | None
    follows: bool = False
    """It goes while others are under way that hold what is before it: only an acknowledgement is wanted."""


@frozen(kw_only=True)
class Answered:
    """The server took the payload and said this."""

    payload: ServerPayload


@frozen(kw_only=True)
class Refused:
    """The server answered, but not with a payload: its HTTP status, its own words, when to come back (seconds)."""

    status: int
    reason: str
    retry_after: float | None = None


@frozen(kw_only=True)
class Unreachable:
    """No usable answer came; the reason is for a person: cause and next step."""

    reason: str


Reply = Answered | Refused | Unreachable


class Transport(Protocol):
    """Carries one payload to the server and the answer back."""

    @property
    def depth(self) -> int:
        """How many payloads may be under way at a time. They are given in order, and mostly arrive so."""

    def exchange(self, request: Request) -> Awaitable[Reply]:
        """Never raises for what a network or a server does; that is what Refused and Unreachable are for."""


@frozen
class Nowhere:
    """A transport where there is no server to carry anything to; `reason` says why, and what to do."""

    reason: str

    @property
    def depth(self) -> int:
        """See Transport."""
        return 1

    async def exchange(self, request: Request) -> Reply:
        """See Transport."""
        return Unreachable(reason=self.reason)

    async def stop(self) -> None:
        """There is nothing to stop."""
