"""
The declarations of the types that come with Fieldpost (landscape 1.5, 1.8): what agents send, and what servers send them.

Both directions have a `resynchronize`, of different fields; hence two catalogues.
"""

from .api import NEWEST_SERVER_API, ApiLevel
from .declaration import Catalogue, Declaration, Field
from .kinds import ANYTHING, INTEGER, NUMBER, OCTETS, TEXT, Kind, list_of, map_of, rows_of
from .message import (
    ACCEPTED_TYPES,
    OPERATION_RESULT,
    RECEIPT,
    REGISTER,
    REGISTRATION,
    RESYNCHRONIZE,
    SET_ID,
    SET_INTERVALS,
    UNKNOWN_ID,
    Message,
)

MAX_RESULT_TEXT = 100_000
"""Characters of a result's text; what is longer is cut (landscape 1.5)."""


def _needs(name: str, kind: Kind, about: str, *, nullable: bool = False) -> Field:
    return Field(name=name, kind=kind, about=about, nullable=nullable)


def _may_have(name: str, kind: Kind, about: str, *, nullable: bool = False, most: int | None = None) -> Field:
    return Field(name=name, kind=kind, about=about, required=False, nullable=nullable, most=most)


def _newest(name: str, kind: Kind, about: str) -> Field:
    return Field(name=name, kind=kind, about=about, required=False, since=NEWEST_SERVER_API)


_REGISTER = Declaration(
    type=REGISTER,
    about="An agent without identity wants one. Sent by the broker alone. Of the names with dashes and with underscores, "
    "the former come from a broker, the latter from `landscape-config`.",
    fields=(
        _needs("account_name", TEXT, "the account to belong to"),
        _needs("computer_title", TEXT, "what the computer is called on the server"),
        _needs("hostname", TEXT, "the machine's own name"),
        _may_have("registration_password", TEXT, "the account's key", nullable=True),
        _may_have("tags", TEXT, "tags, parted by commas", nullable=True),
        _may_have("container-info", TEXT, "kind of container that it runs in, empty for none"),
        _may_have("vm-info", OCTETS, "kind of virtual machine that it is, empty for none"),
        _may_have("container_info", TEXT, "the same as `container-info`"),
        _may_have("vm_info", OCTETS, "the same as `vm-info`"),
        _may_have("machine_id", TEXT, "a UUID made of the machine's id"),
        _newest("ubuntu_pro_info", TEXT, "JSON"),
        _newest("access_group", TEXT, "group of computers to belong to"),
        _newest("clone_secure_id", TEXT, "the identity that it had before it was found to be a clone"),
        _newest("hostagent_uid", TEXT, ""),
        _newest("installation_request_id", TEXT, ""),
        _newest("authenticated_attach_code", TEXT, ""),
        _newest("juju-info", map_of(ANYTHING), "`environment-uuid`, `api-addresses`, `machine-id`"),
        _may_have(
            "registration-id", TEXT, "Fieldpost's own: makes a repeated registration find the same computer"
        ),
    ),
)

_OPERATION_RESULT = Declaration(
    type=OPERATION_RESULT,
    about="How an operation ended.",
    fields=(
        _needs("operation-id", INTEGER, "the operation's"),
        _needs("status", INTEGER, "5 failed, 6 succeeded"),
        _may_have(
            "result-code",
            INTEGER,
            "1 done, 100 error, 101 dependency, 102 time-out, 103 process failed, 104 attachment not fetched",
        ),
        _may_have("result-text", TEXT, "what there is to say, or what was written", most=MAX_RESULT_TEXT),
    ),
)

_FROM_AGENTS = (
    _REGISTER,
    _OPERATION_RESULT,
    Declaration(
        type=RESYNCHRONIZE,
        about="From here on the agent tells everything afresh. Sent by the broker alone.",
        fields=(_may_have("operation-id", INTEGER, "of the server's request, where there was one"),),
    ),
    Declaration(
        type=RECEIPT,
        about="What the agent could not keep, or could not pass on. Sent by the broker alone.",
        fields=(
            _needs("reason", TEXT, "`size`, `age`, `poison`, `corrupt`, `obsolete` or `unusable`"),
            _needs("message-type", TEXT, "type of the messages that are gone"),
            _needs("count", INTEGER, "how many"),
            _may_have("first", INTEGER, "id of the first in the agent's store"),
            _may_have("last", INTEGER, "id of the last"),
            _may_have("oldest", INTEGER, "timestamp of the oldest"),
            _may_have("newest", INTEGER, "timestamp of the newest"),
        ),
    ),
    Declaration(
        type="text-message",
        about="A line for the operator.",
        fields=(_needs("message", TEXT, "the line"),),
    ),
    Declaration(
        type="computer-info",
        about="What kind of machine it is. Which fields there are depends on who tells.",
        fields=(
            _may_have("hostname", TEXT, "the machine's own name"),
            _may_have("architecture", TEXT, "such as x86_64"),
            _may_have("kernel", TEXT, "its release"),
            _may_have("processors", INTEGER, "how many"),
            _may_have("total-memory", INTEGER, "MiB"),
            _may_have("total-swap", INTEGER, "MiB"),
            _may_have("distribution", TEXT, "its own name for itself"),
        ),
    ),
    Declaration(
        type="cpu-usage",
        about="How busy the processors were.",
        fields=(
            _needs(
                "cpu-usages", rows_of(time=INTEGER, load=NUMBER), "end of each step; share of time, 0 to 1"
            ),
        ),
    ),
    Declaration(
        type="memory-info",
        about="How much memory was free.",
        fields=(
            _needs(
                "memory-info",
                rows_of(time=INTEGER, free_memory=INTEGER, free_swap=INTEGER),
                "end of each step; MiB",
            ),
        ),
    ),
    Declaration(
        type="mount-info",
        about="What is mounted.",
        fields=(
            _needs(
                "mount-info",
                rows_of(time=INTEGER, mount=ANYTHING),
                "since when; a map of `device`, `mount-point`, `filesystem` and `total-space` in MiB",
            ),
        ),
    ),
    Declaration(
        type="free-space",
        about="How much room was left.",
        fields=(
            _needs("free-space", rows_of(time=INTEGER, mount_point=TEXT, free=INTEGER), "when; where; MiB"),
        ),
    ),
    Declaration(
        type="network-activity",
        about="How much went through each network interface.",
        fields=(
            _needs(
                "activities",
                map_of(rows_of(time=INTEGER, received=NUMBER, sent=NUMBER)),
                "by interface: end of each step; octets in it",
            ),
        ),
    ),
)

_FROM_SERVERS = (
    Declaration(
        type=ACCEPTED_TYPES,
        about="The types that the server takes from now on; what is of another type is held back.",
        fields=(_needs("types", list_of(TEXT), "all of them"),),
    ),
    Declaration(
        type=SET_ID,
        about="The agent's identity.",
        fields=(
            _needs("id", OCTETS, "what it presents from now on: a secret"),
            _may_have("insecure-id", INTEGER, "the computer's number", nullable=True),
        ),
    ),
    Declaration(
        type=REGISTRATION,
        about="Why a registration failed.",
        fields=(_needs("info", TEXT, "`unknown-account` or `max-pending-computers`"),),
    ),
    Declaration(
        type=UNKNOWN_ID,
        about="The identity that the agent presented is none; it registers anew.",
        fields=(_may_have("clone-of", TEXT, "title of the computer whose identity it copied"),),
    ),
    Declaration(
        type=RESYNCHRONIZE,
        about="Tell everything afresh. An operation: the agent answers with its own `resynchronize`.",
        fields=(
            _needs("operation-id", INTEGER, "the operation's"),
            _may_have("scopes", list_of(TEXT), "what to tell afresh; everything without it", nullable=True),
        ),
    ),
    Declaration(
        type=SET_INTERVALS,
        about="How often to exchange, in seconds.",
        fields=(
            _may_have("exchange", INTEGER, "usually"),
            _may_have("urgent-exchange", INTEGER, "when something is urgent"),
            _may_have("ping", INTEGER, "between light polls; Landscape's client alone"),
        ),
    ),
    Declaration(
        type="execute-script",
        about="An operation: run a script.",
        fields=(
            _may_have("operation-id", INTEGER, "the operation's; the server writes it"),
            _needs("interpreter", TEXT, "a path, with at most one argument after it"),
            _needs("code", TEXT, "the script"),
            _needs("username", TEXT, "the user to run it as"),
            _may_have("time-limit", INTEGER, "seconds; 0 for the plugin's own", nullable=True),
            _may_have("env", map_of(TEXT), "its environment", nullable=True),
            _may_have("attachments", map_of(INTEGER), "files to put beside it: ids by name", nullable=True),
        ),
    ),
)

AGENT_MESSAGES = Catalogue.of(_FROM_AGENTS)
SERVER_MESSAGES = Catalogue.of(_FROM_SERVERS)


def coerce(message: Message, api: ApiLevel) -> Message:
    """
    An agent's message of a built-in type as a server of this API level knows it; see Declaration.

    Raises Malformed, naming the field.
    """
    return AGENT_MESSAGES.coerce(message, api)
