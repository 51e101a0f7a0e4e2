"""What one payload to the server carries: taken from the store, and turned into what travels."""

from functools import partial

from attrs import evolve, frozen

from ..wire import cbor
from ..wire.catalogue.from_agents import coerce
from ..wire.digest import types_digest
from ..wire.encoding import BPICKLE
from ..wire.errors import LocalProtocolError, Malformed, RemoteProtocolError
from ..wire.message import Message, check_message
from ..wire.payload import ClientPayload
from .carriage.transport import Request
from .store.records import Outgoing, QueuedMessage
from .store.store import Store


@frozen(kw_only=True)
class Parcel:
    """The store's words, and its messages as they travel."""

    outgoing: Outgoing
    messages: tuple[Message, ...]
    follows: bool = False
    """See Request."""

    @property
    def end(self) -> int:
        """The number behind its messages."""
        return self.outgoing.sequence + len(self.messages)

    @property
    def leaves_some(self) -> bool:
        """Whether there were messages that found no room in it."""
        return 0 < len(self.messages) < self.outgoing.total

    def emptied(self) -> "Parcel":
        """The same without messages, and without the token, which has been shown."""
        return Parcel(outgoing=evolve(self.outgoing, messages=(), token=None), messages=())

    def request(self, types: tuple[str, ...]) -> Request:
        """What the transport carries; `types` are those that this agent takes, told when the server has others."""
        outgoing = self.outgoing
        payload = ClientPayload(
            accepted_types=types_digest(outgoing.accepted_types),
            client_accepted_types=None if types_digest(types) == outgoing.client_types_hash else types,
            messages=self.messages,
            next_expected_sequence=outgoing.next_expected_sequence,
            sequence=outgoing.sequence,
            server_api=outgoing.api,
            total_messages=outgoing.total,
        )
        return Request(
            payload=payload, secure_id=outgoing.secure_id, token=outgoing.token, follows=self.follows
        )


def pack(store: Store, *, max_messages: int, max_octets: int, behind: "Parcel | None" = None) -> Parcel:
    """
    What goes next, or what goes behind another payload that is under way; to be run in the writer.

    A message that the disk has spoilt would stop all that is behind it (fault L13): it is set aside there and then.
    So is one that Landscape's server would not know for what its type says.
    """
    begin = store.begin_exchange if behind is None else partial(store.follow_exchange, behind.end)
    while True:
        outgoing = begin(max_messages=max_messages, max_octets=max_octets)
        try:
            messages = tuple(_unpack(message, outgoing) for message in outgoing.messages)
            return Parcel(outgoing=outgoing, messages=messages, follows=behind is not None)
        except _Spoilt as error:
            store.set_aside(error.number, str(error))


class _Spoilt(Exception):
    """A message in the store that cannot go."""

    def __init__(self, number: int, cause: str) -> None:
        super().__init__(cause)
        self.number = number


def _unpack(message: QueuedMessage, outgoing: Outgoing) -> Message:
    try:
        fields = check_message(cbor.decode(message.body))
    except RemoteProtocolError as error:
        raise _Spoilt(message.number, f"the disk has spoilt it: {error}") from error
    found = {**fields, "api": bytes(outgoing.api), "timestamp": message.timestamp}
    if not outgoing.is_landscape:
        return found
    try:
        written = coerce(found, outgoing.api)
        BPICKLE.encode(written)  # CBOR carries more: one message that cannot go must not hold up the others
        return written
    except (Malformed, LocalProtocolError) as error:
        raise _Spoilt(message.number, f"Landscape's servers do not take it: {error}") from error
