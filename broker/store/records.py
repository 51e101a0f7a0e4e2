"""What goes into the store and what comes out of it, as values."""

from enum import Enum

from attrs import frozen

from ...wire.api import ApiLevel
from ...wire.local import Refusal
from ...wire.message import Message
from ...wire.sequence import Verdict


@frozen(kw_only=True)
class StoreLimits:
    """How much the store keeps before it sheds the oldest, and leaves a receipt."""

    max_octets: int = 1024 * 1024 * 1024
    """Bodies of the messages that wait for their first sending."""
    max_age: float | None = None
    """Seconds; None for no limit."""
    reserve_octets: int = 8 * 1024 * 1024
    """Disk space held back, so that exchanges and deletions go on when the disk is full."""


@frozen(kw_only=True)
class NewMessage:
    """
    A message of a plugin, on its way in.

    `body` is the encoded map without `api` and `timestamp`. `operation_id` is that of an operation-result, which is
    refused when its operation came under another secure id.
    """

    type: str
    body: bytes
    timestamp: int
    operation_id: int | None = None


@frozen(kw_only=True)
class Batch:
    """
    What a plugin sent in one call, number `number` of its `instance`.

    `refused` were turned away before; their indexes, like those of the answer, count the plugin's whole batch.
    """

    instance: str
    number: int
    plugin: str
    session_id: str | None
    messages: tuple[NewMessage, ...]
    refused: tuple[Refusal, ...] = ()


@frozen(kw_only=True)
class QueuedMessage:
    """A message that goes out under its number; `body` as in NewMessage."""

    number: int
    type: str
    timestamp: int
    body: bytes


@frozen(kw_only=True)
class Outgoing:
    """All that one payload to the server says; the token is taken out of the store and so goes once."""

    sequence: int
    next_expected_sequence: int
    api: ApiLevel
    token: bytes | None
    secure_id: bytes | None
    messages: tuple[QueuedMessage, ...]
    total: int
    """Messages pending, these included."""
    accepted_types: tuple[str, ...]
    client_types_hash: bytes | None
    is_landscape: bool = False
    """See State."""


@frozen(kw_only=True)
class Answer:
    """What the server said to the payload of the last `begin_exchange`."""

    next_expected_sequence: int | None
    """None: all that was sent is accepted."""
    token: bytes | None
    server_uuid: str
    server_api: ApiLevel
    client_types_hash: bytes | None
    messages: tuple[Message, ...]


@frozen(kw_only=True)
class Settlement:
    """What an answer did to the store."""

    verdict: Verdict
    moved: bool
    """The server expects another number than before."""
    pending: int
    received: int
    """Messages of the server that are new in the inbox."""
    server_uuid_changed: tuple[str | None, str] | None


@frozen(kw_only=True)
class State:
    """What the server told us, and who we are."""

    sequence: int
    """Number of the first message that the server has not acknowledged."""
    server_sequence: int
    """Number of the server's next message."""
    api: ApiLevel
    accepted_types: tuple[str, ...]
    server_uuid: str | None
    secure_id: bytes | None
    insecure_id: int | None
    clone_secure_id: bytes | None
    registration_id: str
    client_types_hash: bytes | None
    exchange_interval: int | None
    urgent_exchange_interval: int | None
    ping_interval: int | None = None
    is_landscape: bool = False
    """The server is Landscape's: without an identity nothing goes but `register` (landscape 1.7)."""


@frozen(kw_only=True)
class TypeChanges:
    """How the accepted types changed; each sorted."""

    added: tuple[str, ...]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]


@frozen(kw_only=True)
class Incoming:
    """A message of the server that waits for its delivery; `secure_id` was in force when it came."""

    number: int
    type: str
    message: Message
    operation_id: int | None
    secure_id: bytes | None


@frozen(kw_only=True)
class OperationResult:
    """How an operation ended: `status` is SUCCEEDED or FAILED of wire.message."""

    status: int
    result_code: int | None = None
    result_text: str | None = None


class Conclusion(Enum):
    """What became of a finished delivery."""

    DONE = "done"
    """Nothing was to be answered."""
    ANSWERED = "answered"
    """The operation's result is queued."""
    OBSOLETE = "obsolete"
    """The operation came under another secure id; its result is dropped, and a receipt says so."""
    UNKNOWN = "unknown"
    """There is no such delivery, or not any more."""


@frozen(kw_only=True)
class DeadLetter:
    """A message that the server could not take, and why."""

    id: int
    number: int
    type: str
    api: ApiLevel
    timestamp: int
    reason: str
    body: bytes


@frozen(kw_only=True)
class LaneStatus:
    """The messages of one type and API level that wait for their first sending."""

    type: str
    api: ApiLevel
    count: int
    octets: int
    held: bool


@frozen(kw_only=True)
class StoreStatus:
    """How full the store is and how well; costs the same whatever waits in it."""

    pending: int
    held: int
    octets: int
    """Bodies of all those that are pending or held."""
    unacknowledged: int
    """Of those pending: sent once, or about to be, without an answer yet."""
    oldest_pending: int | None
    """Timestamp of the oldest message pending, as it was queued."""
    incoming: int
    dead_letters: int
    sequence: int
    server_sequence: int
    full: bool
    """The disk is full: nothing is taken from plugins until it has room again."""
    quarantined: tuple[str, ...]
    """Damaged files that were put aside; delete them when they are of no more use."""
    lanes: tuple[LaneStatus, ...]
