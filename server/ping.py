"""
The light poll of Landscape's client (landscape 1.10): do messages wait for a computer?

Asked every 30 seconds, answered without a look at who asks: all that can be learned is that a computer of a number has a
message waiting. A client asks for an exchange when the answer equals `{"messages": True}`, and takes any other map for a no.
"""

import re
from functools import partial

from ..wire.encoding import BPICKLE
from ..wire.errors import Malformed
from .call import Answer, Call
from .commits import Commits
from .outgoing import is_awaited_txn

PING_PATH = "/ping"
_QUESTION = re.compile(rb"insecure_id=([0-9]{1,18})")


class Ping:
    """Answers pings."""

    def __init__(self, *, commits: Commits) -> None:
        self._commits = commits

    async def answer(self, call: Call) -> Answer:
        """Raises Malformed for what is no ping, DatabaseError."""
        asked = _QUESTION.fullmatch(call.body)
        if asked is None:
            raise Malformed("the body must be `insecure_id=` and a computer's number")
        waits = await self._commits.run(partial(is_awaited_txn, computer_id=int(asked[1])))
        form = ("Content-Type", BPICKLE.media_type)
        return Answer(headers=(form,), body=BPICKLE.encode({"messages": waits}))
