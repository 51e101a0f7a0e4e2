"""What an answer of Landscape's server means where it is not what ours would mean (landscape 1.8)."""

from attrs import evolve, frozen

from ...wire.message import UNKNOWN_ID
from ...wire.payload import ServerPayload
from .http import HttpTransport
from .transport import Answered, Reply, Request


@frozen(kw_only=True)
class LandscapeTransport:
    """
    The exchange with Landscape's server.

    An answer without a number accepts all that was sent. But a server that does not know us has not taken it: then the
    messages stay, and go again under the next identity (fault L14).
    """

    http: HttpTransport

    @property
    def depth(self) -> int:
        """See Transport."""
        return 1

    async def exchange(self, request: Request) -> Reply:
        """See Transport."""
        reply = await self.http.exchange(request)
        if not isinstance(reply, Answered) or not _disowns(reply.payload):
            return reply
        return Answered(payload=evolve(reply.payload, next_expected_sequence=request.payload.sequence))

    async def stop(self) -> None:
        """End what is under way; later exchanges fail at once."""
        await self.http.stop()


def _disowns(payload: ServerPayload) -> bool:
    """Whether the server does not know us, and does not say what it expects."""
    return payload.next_expected_sequence is None and any(
        message["type"] == UNKNOWN_ID for message in payload.messages
    )
