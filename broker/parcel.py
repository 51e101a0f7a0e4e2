"""What one payload to the server carries: taken from the store, and turned into what travels."""

from attrs import evolve, frozen

from ..wire import cbor
from ..wire.digest import types_digest
from ..wire.errors import RemoteProtocolError
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
        return Request(payload=payload, secure_id=outgoing.secure_id, token=outgoing.token)


def pack(store: Store, *, max_messages: int, max_octets: int) -> Parcel:
    """
    What goes next; to be run in the writer.

    A message that the disk has spoilt would stop all that is behind it (fault L13): it is set aside there and then.
    """
    while True:
        outgoing = store.begin_exchange(max_messages=max_messages, max_octets=max_octets)
        try:
            return Parcel(
                outgoing=outgoing, messages=tuple(_unpack(message, outgoing) for message in outgoing.messages)
            )
        except _Spoilt as error:
            store.set_aside(error.number, str(error))


class _Spoilt(Exception):
    """A message in the store that cannot be read any more."""

    def __init__(self, number: int, cause: object) -> None:
        super().__init__(f"the disk has spoilt it: {cause}")
        self.number = number


def _unpack(message: QueuedMessage, outgoing: Outgoing) -> Message:
    try:
        fields = check_message(cbor.decode(message.body))
    except RemoteProtocolError as error:
        raise _Spoilt(message.number, error) from error
    return {**fields, "api": bytes(outgoing.api), "timestamp": message.timestamp}
