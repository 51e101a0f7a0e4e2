"""
Files that operations name, fetched from beside the exchange (landscape 1.1), for plugins, which have no identity to show.

They go by a connection of their own: a large file holds up no exchange. One is fetched at a time, and held in memory on its way
to the plugin; so its size is bounded.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from ..runtime.writer import Writer
from ..wire.errors import RemoteProtocolError
from ..wire.http import COMPUTER_ID, is_credential
from ..wire.local import MAX_ATTACHMENT_OCTETS
from .carriage.address import Address
from .carriage.answers import Answer, body_of
from .carriage.post import Letter, PostFailed
from .carriage.wording import printable
from .errors import BrokerError
from .store.records import State

FIELD = "attachments"
"""Of an operation: a map from names to ids, or a list of ids."""


class AttachmentFailed(BrokerError):
    """A file that cannot be had; the text says why."""


class Post(Protocol):
    """What of a Poster is needed here."""

    async def post(self, letter: Letter) -> Answer:
        """Raises PostFailed."""

    async def stop(self) -> None:
        """Later letters fail at once."""


class Storage(Protocol):
    """What of the store is needed here."""

    def state(self) -> State:
        """Who we are."""


class Attachments:
    """Fetches files. `folder` is the path on the server below which they are; `poster` is None where there is no server."""

    def __init__(
        self, *, poster: Post | None, folder: str, store: Storage, writer: Writer, worker: Writer
    ) -> None:
        self._poster = poster
        self._folder = folder
        self._store = store
        self._writer = writer
        self._worker = worker

    async def fetch(self, id: int) -> bytes:
        """Raises AttachmentFailed, and DatabaseError."""
        if self._poster is None:
            raise AttachmentFailed("no server is configured")
        letter = self._letter(id, (await self._writer.run(self._store.state)).secure_id)
        try:
            return await self._read(await self._poster.post(letter))
        except (PostFailed, RemoteProtocolError) as error:
            raise AttachmentFailed(f"attachment {id} cannot be fetched: {error}") from error

    async def stop(self) -> None:
        """What is under way fails, and all that is asked for later."""
        if self._poster is not None:
            await self._poster.stop()

    def _letter(self, id: int, secure_id: bytes | None) -> Letter:
        if secure_id is None or not is_credential(secure_id):
            raise AttachmentFailed(f"attachment {id} cannot be fetched: this machine is not registered")
        headers = {"Accept": b"*/*", COMPUTER_ID: secure_id}
        return Letter(method="GET", path=f"{self._folder}/attachment/{id}", headers=headers)

    async def _read(self, answer: Answer) -> bytes:
        """Raises RemoteProtocolError."""
        if answer.status != 200:
            raise RemoteProtocolError(
                "refused", f"the server says {answer.status} {printable(answer.phrase)}"
            )
        if not answer.whole:
            raise RemoteProtocolError("too-large", f"it is larger than {MAX_ATTACHMENT_OCTETS} octets")
        found: bytes = await self._worker.run(body_of, answer, MAX_ATTACHMENT_OCTETS)
        return found


def folder_of(address: Address) -> str:
    """The path of an exchange's address without its last part and without a slash at the end."""
    return address.target.partition("?")[0].rpartition("/")[0]


def ids_in(message: Mapping[str, Any]) -> frozenset[int]:
    """The files that an operation names."""
    named = message.get(FIELD)
    ids = named.values() if isinstance(named, dict) else named if isinstance(named, list) else ()
    return frozenset(id for id in ids if type(id) is int)
