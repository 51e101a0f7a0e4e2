"""
Payloads of one exchange that are under way at the same time.

While the answer to the first payload is awaited, those behind it follow, as many as the transport takes: a backlog then
drains at the pace of both ends, not of the way between them. Followers show no token and bring no messages home. Each
starts at the number where the one before it ends, and so the server takes it only if it has taken that.

Nothing is new in this for the store: an answer that is passed over is an answer that was lost, and what it would have
acknowledged goes again, under its numbers.
"""

from collections import deque
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred

from .carriage.transport import Reply
from .parcel import Parcel

MOST_FOLLOWERS = 15
"""Of one exchange: the server's messages come with its first answer and are delivered when all are in."""


class Pipeline:
    """
    One exchange's payloads: the first is sent at once.

    `send` never fails; `follow` packs what comes behind a payload, `depth` of them are under way at most.
    """

    def __init__(
        self,
        first: Parcel,
        *,
        send: Callable[[Parcel], "Deferred[Reply]"],
        follow: Callable[[Parcel], Awaitable[Parcel]],
        depth: int,
    ) -> None:
        self._send = send
        self._follow = follow
        self._depth = depth
        self._last = first
        self._left = MOST_FOLLOWERS if depth > 1 and first.leaves_some else 0
        self._under_way = deque([(first, send(first))])

    async def next(self) -> tuple[Parcel, Reply] | None:
        """The oldest payload without an answer, and its answer; None when all are answered."""
        await self._fill()
        if not self._under_way:
            return None
        parcel, reply = self._under_way[0]
        try:
            return parcel, await reply
        finally:
            self._under_way.popleft()

    async def settle(self) -> None:
        """Send no more; wait until nothing is under way, whatever comes of it."""
        self._left = 0
        while self._under_way:
            await self._under_way.popleft()[1]

    def cancel(self) -> None:
        """Wait for no answer any more."""
        self._left = 0
        for _, reply in tuple(self._under_way):
            reply.cancel()

    async def _fill(self) -> None:
        while self._left and len(self._under_way) < self._depth:
            parcel = await self._follow(self._last)
            if not parcel.messages or not self._left:
                self._left = 0
                return
            self._left -= 1
            self._last = parcel
            self._under_way.append((parcel, self._send(parcel)))
