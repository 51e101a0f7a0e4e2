"""
The local protocol between the broker and plugin processes: its words as data.

It runs on AMP boxes over a UNIX socket. Each call and each answer has one argument, `body`: a CBOR map, whose fields
are the classes below. A body longer than one AMP value goes on in `body.1`, `body.2` and so on. docs/local-protocol.md
has the octets.

Whoever connects calls `hello` first, naming the oldest and the newest version that it speaks; the broker answers with
the newest that both speak. An error answer has one of the codes below.
"""

from typing import Any

from attrs import frozen

from .errors import RemoteProtocolError
from .message import Message, check_message
from .schema import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    MAP,
    NATURAL,
    OCTETS,
    TEXT,
    field_of,
    list_of,
    map_of,
    optional,
)

OLDEST_VERSION = 1
NEWEST_VERSION = 1

MAX_VALUE_OCTETS = 65_535
"""AMP's own limit for one value."""
MAX_BODY_OCTETS = 8 * 1024 * 1024
"""A longer body ends the connection."""
MAX_ATTACHMENT_OCTETS = MAX_BODY_OCTETS - MAX_VALUE_OCTETS
"""A longer file has no room in an answer."""
MAX_BATCH_MESSAGES = 10_000
MAX_MESSAGE_OCTETS = 4 * 1024 * 1024
MAX_MESSAGE_ITEMS = 100_000
"""Values of all kinds in one message, keys included."""
MAX_MESSAGE_DEPTH = 32
"""Lists and maps inside each other, the message itself being one."""
MAX_BATCHES_IN_FLIGHT = 16
"""A plugin process waits for an answer when it has this many batches unanswered."""

REFUSED = "REFUSED"
"""The call is not allowed, or wrong; saying it again will not help."""
UNAVAILABLE = "UNAVAILABLE"
"""The broker cannot now (disk full, stopping); say it again later."""
NO_VERSION = "NO-VERSION"
"""The two sides speak no common version."""


class Refused(RemoteProtocolError):
    """The peer refuses this call for good; the text says why and what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(REFUSED, text)


class Unavailable(RemoteProtocolError):
    """The peer cannot do it now; the same call may pass later."""

    def __init__(self, text: str) -> None:
        super().__init__(UNAVAILABLE, text)


class NoVersion(RemoteProtocolError):
    """No version is spoken by both sides."""

    def __init__(self, text: str) -> None:
        super().__init__(NO_VERSION, text)


def choose_version(
    oldest: int, newest: int, *, ours: tuple[int, int] = (OLDEST_VERSION, NEWEST_VERSION)
) -> int:
    """
    The newest version that we and a peer with this range speak.

    Raises NoVersion.
    """
    chosen = min(newest, ours[1])
    if chosen < max(oldest, ours[0]):
        raise NoVersion(
            f"the plugin speaks versions {oldest} to {newest}, this broker {ours[0]} to {ours[1]}; "
            "bring the older of the two up to date"
        )
    return chosen


@frozen(kw_only=True)
class Hello:
    """First call of a plugin process. `instance` is new at each start of the process: batches are numbered per instance."""

    oldest: int = field_of(INTEGER)
    newest: int = field_of(INTEGER)
    instance: str = field_of(TEXT)
    plugins: tuple[str, ...] = field_of(list_of(TEXT))
    events: tuple[str, ...] = field_of(list_of(TEXT), default=())
    """Names of the events that it wants to hear."""


@frozen(kw_only=True)
class Welcome:
    """Answer to hello."""

    version: int = field_of(INTEGER)
    accepted_types: tuple[str, ...] = field_of(list_of(TEXT))
    registered: bool = field_of(BOOLEAN)
    server_uuid: str | None = field_of(optional(TEXT), default=None)
    last_batch: int = field_of(NATURAL)
    """Highest batch number of this instance that is stored; 0 for none."""


@frozen(kw_only=True)
class OpenSession:
    """Asks for the session id to stamp on messages of a scope; the same one until a resynchronize drops it."""

    plugin: str = field_of(TEXT)
    scope: str | None = field_of(optional(TEXT), default=None)


@frozen(kw_only=True)
class Session:
    """Answer to open-session."""

    session_id: str = field_of(TEXT)


@frozen(kw_only=True)
class Send:
    """
    A batch of messages, each encoded on its own.

    `batch` counts up from 1 within an instance; a batch sent again under its number is stored once.
    """

    plugin: str = field_of(TEXT)
    batch: int = field_of(NATURAL)
    session_id: str | None = field_of(optional(TEXT), default=None)
    urgent: bool = field_of(BOOLEAN, default=False)
    messages: tuple[bytes, ...] = field_of(list_of(OCTETS), write=list)


OBSOLETE_SESSION = "obsolete-session"
"""Why a message is not taken: its session was dropped by a resynchronize."""
NOT_GRANTED = "not-granted"
MALFORMED = "malformed"
TOO_LARGE = "too-large"
OBSOLETE_OPERATION = "obsolete-operation"
"""The operation that this message answers came under another identity."""


@frozen(kw_only=True)
class Refusal:
    """A message of a batch that was not stored."""

    index: int = field_of(NATURAL)
    code: str = field_of(TEXT)
    text: str = field_of(TEXT)


@frozen(kw_only=True)
class Stored:
    """Answer to send, given once the disk has it: how many messages are stored, and which are not."""

    stored: int = field_of(NATURAL)
    refused: tuple[Refusal, ...] = field_of(list_of(map_of(Refusal)), default=())


@frozen(kw_only=True)
class Handle:
    """Says that a plugin takes the server's messages of these types."""

    plugin: str = field_of(TEXT)
    types: tuple[str, ...] = field_of(list_of(TEXT))


@frozen(kw_only=True)
class Deliver:
    """Broker to plugin: a message from the server. The answer comes when the plugin is done with it."""

    plugin: str = field_of(TEXT)
    number: int = field_of(NATURAL)
    message: Message = field_of(check_message)


DONE = "done"
FAILED = "failed"
NOT_HANDLED = "not-handled"


@frozen(kw_only=True)
class Outcome:
    """Answer to deliver: done, failed or not-handled; the rest goes into the operation's result where there is one."""

    status: str = field_of(TEXT)
    result_code: int | None = field_of(optional(INTEGER), default=None)
    result_text: str | None = field_of(optional(TEXT), default=None)


@frozen(kw_only=True)
class Event:
    """Broker to plugin: something happened (landscape 1.13). `details` is a map of its own per event."""

    name: str = field_of(TEXT)
    details: dict[str, Any] = field_of(MAP)


IMPENDING_EXCHANGE = "impending-exchange"
PRE_EXCHANGE = "pre-exchange"
EXCHANGE_DONE = "exchange-done"
EXCHANGE_FAILED = "exchange-failed"
RESYNCHRONIZE_CLIENTS = "resynchronize-clients"
ACCEPTANCE_CHANGED = "message-type-acceptance-changed"
SERVER_UUID_CHANGED = "server-uuid-changed"
REGISTRATION_DONE = "registration-done"
REGISTRATION_FAILED = "registration-failed"

EVENTS = (
    IMPENDING_EXCHANGE,
    PRE_EXCHANGE,
    EXCHANGE_DONE,
    EXCHANGE_FAILED,
    RESYNCHRONIZE_CLIENTS,
    ACCEPTANCE_CHANGED,
    SERVER_UUID_CHANGED,
    REGISTRATION_DONE,
    REGISTRATION_FAILED,
)


@frozen(kw_only=True)
class Nothing:
    """An empty map: the call or answer that needs no fields."""


MAX_OUTPUT_CHARACTERS = 65_536
"""So much of what an operation wrote is kept for those who watch it; the newest."""
MAX_TOPIC_LENGTH = 64


@frozen(kw_only=True)
class Output:
    """What an operation that is under way wrote, and how far it is; for those who watch it, never stored."""

    plugin: str = field_of(TEXT)
    operation: int = field_of(INTEGER)
    """Its `operation-id`."""
    text: str = field_of(TEXT, default="")
    topic: str | None = field_of(optional(TEXT), default=None)
    """What the progress is of; null: there is none to tell."""
    position: int = field_of(NATURAL, default=0)
    total: int | None = field_of(optional(NATURAL), default=None)


@frozen(kw_only=True)
class FetchAttachment:
    """Asks for a file that an operation names which is with the plugin."""

    plugin: str = field_of(TEXT)
    operation: int = field_of(INTEGER)
    """Its `operation-id`."""
    id: int = field_of(INTEGER)
    """The file's, as it stands in the operation's `attachments`."""


@frozen(kw_only=True)
class Attachment:
    """Answer to attachment: the file."""

    octets: bytes = field_of(OCTETS)


@frozen(kw_only=True)
class Subscribe:
    """Asks for the notifications of a topic. `since`: the highest `seq` that the plugin has dealt with."""

    plugin: str = field_of(TEXT)
    topic: str = field_of(TEXT)
    since: int | None = field_of(optional(INTEGER), default=None)


@frozen(kw_only=True)
class Unsubscribe:
    """Wants no more of them."""

    plugin: str = field_of(TEXT)
    topic: str = field_of(TEXT)


@frozen(kw_only=True)
class Notification:
    """
    Broker to plugin: the newest that the server says of a topic. The answer comes when the plugin is done with it; until
    then nothing else of the topic comes.
    """

    plugin: str = field_of(TEXT)
    topic: str = field_of(TEXT)
    seq: int = field_of(INTEGER)
    value: Any = field_of(ANYTHING, default=None)
    gap: bool = field_of(BOOLEAN, default=False)
    """Whether earlier ones may have been missed."""


@frozen(kw_only=True)
class Ping:
    """Broker to plugin: are you there?"""

    plugin: str = field_of(TEXT)


@frozen(kw_only=True)
class ExchangeSoon:
    """Asks for an exchange; urgent, or at once."""

    at_once: bool = field_of(BOOLEAN, default=False)


@frozen(kw_only=True)
class Report:
    """Answer to status: what `fieldpost status` shows. Free-form, for people and programs."""

    status: dict[str, Any] = field_of(MAP)


CALLS: dict[str, tuple[type, type]] = {
    "hello": (Hello, Welcome),
    "open-session": (OpenSession, Session),
    "send": (Send, Stored),
    "handle": (Handle, Nothing),
    "exchange": (ExchangeSoon, Nothing),
    "status": (Nothing, Report),
    "output": (Output, Nothing),
    "attachment": (FetchAttachment, Attachment),
    "subscribe": (Subscribe, Nothing),
    "unsubscribe": (Unsubscribe, Nothing),
    "deliver": (Deliver, Outcome),
    "event": (Event, Nothing),
    "notification": (Notification, Nothing),
    "ping": (Ping, Nothing),
}
"""Each call's name, what it carries, what its answer carries. The last four go from broker to plugin."""
