"""
The maps that say how a request went: status, error, output, progress (spec/wire.md 1.5, 5.6).

An error before any output is a status map, one after it an error frame. Towards the older peers (`bare`) a status map
carries one text and its arguments; in a session both carry a code, atoms, and details beside them.
"""

from collections.abc import Iterable
from typing import Any

from .. import cbor
from ..errors import LocalProtocolError, Malformed, RemoteProtocolError
from .events import Atom, CommandError, Map, Progress, Value, atom_of
from .values import encode_map

STATUS_OK = encode_map({b"status": b"ok"})
_LIMITS = cbor.Limits(octets=1024 * 1024, depth=16, items=10_000)
_MOST_TEXT = 4_096
"""Octets of a message of ours: it fits a frame with what is around it."""

Message = str | Iterable[Atom | str]


def atoms_of(message: Message) -> tuple[Atom, ...]:
    """Text or atoms, as atoms."""
    pieces = (message,) if isinstance(message, str) else message
    return tuple(atom_of(piece[:_MOST_TEXT]) if isinstance(piece, str) else piece for piece in pieces)


def encode_status_error(error: CommandError, *, bare: bool) -> bytes:
    """The status map of a request that failed before it had any output."""
    if not bare:
        return encode_map({b"status": b"error", b"error": _describe(error)})
    atom = error.message[0] if error.message else Atom(error.code)
    described: Map = {b"message": atom.msg}
    if atom.args:
        described[b"args"] = atom.args
    return encode_map({b"status": b"error", b"error": described})


def encode_error(error: CommandError, *, bare: bool) -> bytes:
    """The payload of an error frame."""
    if bare:
        return encode_map({b"type": error.kind, b"message": [_to_map(atom) for atom in error.message]})
    return encode_map({**_describe(error), b"type": error.kind})


def encode_error_within(most: int, error: CommandError, *, bare: bool) -> bytes:
    """The same in at most so many octets: an error frame cannot be cut, so one that is too long loses its text."""
    payload = encode_error(error, bare=bare)
    if len(payload) <= most:
        return payload
    return encode_error(CommandError(error.code[:64], (), {}, error.kind), bare=bare)


def _describe(error: CommandError) -> Map:
    return {**error.details, b"code": error.code, b"message": [_to_map(atom) for atom in error.message]}


def encode_atoms(atoms: Iterable[Atom]) -> bytes:
    """The payload of an output frame."""
    return cbor.encode_known([_to_map(atom) for atom in atoms])


def _to_map(atom: Atom) -> Map:
    described: Map = {}
    if atom.args:
        described[b"args"] = list(atom.args)
    if atom.labels:
        described[b"labels"] = list(atom.labels)
    return {**described, b"msg": atom.msg}


def encode_progress(progress: Progress) -> bytes:
    """The payload of a progress frame."""
    values: Map = {
        b"topic": progress.topic,
        b"pos": progress.position,
        b"total": progress.total,
        b"label": progress.label,
        b"item": progress.item,
    }
    return encode_map({key: value for key, value in values.items() if value is not None})


def read_status(status: Value) -> CommandError | None:
    """What the first value of a response says: None for ok. Raises RemoteProtocolError."""
    found = status.get(b"status") if isinstance(status, dict) else None
    if found == b"ok":
        return None
    if found == b"redirect":
        return CommandError(
            b"redirect", (atom_of("the answer is elsewhere"),), {b"location": status.get(b"location")}
        )
    error = status.get(b"error") if found == b"error" else None
    if not isinstance(error, dict):
        raise RemoteProtocolError("response-bad-status", "a response does not begin with a status map")
    try:
        return _read_described(error, b"command")
    except Malformed as fault:
        raise RemoteProtocolError("response-bad-status", f"the error of a response: {fault}") from fault


def read_error(octets: bytes) -> CommandError:
    """What an error frame says. Raises RemoteProtocolError."""
    try:
        error = cbor.decode(octets, _LIMITS)
        kind = error.get(b"type") if isinstance(error, dict) else None
        if not isinstance(kind, bytes):
            raise Malformed("it is no map with a type")
        return _read_described({key: value for key, value in error.items() if key != b"type"}, kind)
    except RemoteProtocolError as fault:
        raise RemoteProtocolError("error-malformed", f"an error frame: {fault}") from fault


def _read_described(error: dict[Any, Value], kind: bytes) -> CommandError:
    message, code = (
        error.get(b"message", []),
        error.get(b"code", b"cancelled" if kind == b"cancelled" else b"error"),
    )
    if isinstance(message, bytes):
        message = [{b"msg": message, b"args": error.get(b"args", [])}]
    if not isinstance(code, bytes):
        raise Malformed("its code is not octets")
    details = {key: value for key, value in error.items() if key not in (b"message", b"code", b"args")}
    return CommandError(code, _read_atom_list(message), details, kind)


def read_atoms(octets: bytes) -> tuple[Atom, ...]:
    """What an output frame says. Raises RemoteProtocolError."""
    try:
        return _read_atom_list(cbor.decode(octets, _LIMITS))
    except RemoteProtocolError as fault:
        raise RemoteProtocolError("output-malformed", f"an output frame: {fault}") from fault


def _read_atom_list(atoms: Value) -> tuple[Atom, ...]:
    if not isinstance(atoms, list):
        raise Malformed("a message is no list")
    return tuple(map(_read_atom, atoms))


def _read_atom(atom: Value) -> Atom:
    if not isinstance(atom, dict) or not isinstance(atom.get(b"msg"), bytes):
        raise Malformed("a piece of a message has no `msg`")
    args, labels = atom.get(b"args", []), atom.get(b"labels", [])
    for row in (args, labels):
        if not isinstance(row, list) or not all(isinstance(one, bytes) for one in row):
            raise Malformed("the arguments and labels of a message are lists of octets")
    return Atom(atom[b"msg"], tuple(args), tuple(labels))


def read_progress(request: int, octets: bytes) -> Progress:
    """What a progress frame says. Raises RemoteProtocolError."""
    try:
        values = cbor.decode(octets, _LIMITS)
    except RemoteProtocolError as fault:
        raise RemoteProtocolError("progress-malformed", f"a progress frame: {fault}") from fault
    found = values if isinstance(values, dict) else {}
    topic, position, total = found.get(b"topic"), found.get(b"pos"), found.get(b"total")
    label, item = found.get(b"label"), found.get(b"item")
    if not (
        isinstance(topic, bytes)
        and isinstance(position, int)
        and isinstance(total, int)
        and isinstance(label, bytes | None)
        and isinstance(item, bytes | None)
    ):
        raise RemoteProtocolError("progress-malformed", "a progress frame lacks topic, pos or total")
    return Progress(request, topic, position, total, label, item)


def details_of(details: dict[str, Value]) -> Map:
    """Keyword arguments as the keys that travel: `retry_after` is `retry-after`."""
    return {name.replace("_", "-").encode(): value for name, value in details.items()}


class NotActive(LocalProtocolError):
    """There is no such request to answer, or its answer is over."""


class Busy(LocalProtocolError):
    """No further request can begin now: the ids, or what the peer runs at once, are used up."""


class Unencodable(LocalProtocolError):
    """A value of an answer does not travel. The peer has been told `internal`; the request is over."""
