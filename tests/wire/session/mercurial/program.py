"""
Mercurial's reactors over pipes: frames by standard input and output, what was understood as JSON lines by standard error.

    program.py server [deferred]    runs the commands below for the frames that come in, until input ends
    program.py client CALLS         makes the calls of a JSON map, ends its output, then reads what is answered

It runs by the interpreter of an environment that has Mercurial, and is the only file that imports it: nothing of Mercurial is ever
loaded beside Fieldpost. In JSON each octet is a character.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, BinaryIO

from mercurial import error, wireprotoframing  # type: ignore[import-not-found,unused-ignore]
from mercurial.utils import cborutil  # type: ignore[import-not-found,unused-ignore]

Objects = Iterator[Any]
Command = Callable[[dict[bytes, Any], bytes], Objects]


def echo(args: dict[bytes, Any], data: bytes) -> Objects:
    """The arguments, as an object of their own."""
    yield args


def joined(args: dict[bytes, Any], data: bytes) -> Objects:
    """The data, as one string."""
    yield data


def blob(args: dict[bytes, Any], data: bytes) -> Objects:
    """As many octets as asked for; `random` ones pack badly."""
    yield os.urandom(args[b"size"]) if args.get(b"random") else b"x" * args[b"size"]


def numbers(args: dict[bytes, Any], data: bytes) -> Objects:
    """One object each."""
    yield from range(args[b"count"])


def kinds(args: dict[bytes, Any], data: bytes) -> Objects:
    """What the encoding knows."""
    yield {b"map": {b"a": 1, b"bb": -1}, b"list": [True, False, None], b"large": 2**40}
    yield {b"one", b"two"}


def refuse(args: dict[bytes, Any], data: bytes) -> Objects:
    """A command error before any output."""
    raise error.WireprotoCommandError(b"not %s", [b"today"])
    yield


def crash(args: dict[bytes, Any], data: bytes) -> Objects:
    """A server error before any output."""
    raise RuntimeError("crashed")
    yield


def crash_late(args: dict[bytes, Any], data: bytes) -> Objects:
    """A server error behind some output."""
    yield b"before" * 10_000
    raise RuntimeError("crashed late")


COMMANDS: dict[bytes, Command] = {
    function.__name__.encode(): function
    for function in (echo, joined, blob, numbers, kinds, refuse, crash, crash_late)
}


class Server:
    """Frames to answers."""

    def __init__(self, out: BinaryIO, *, deferred: bool) -> None:
        self._reactor = wireprotoframing.serverreactor(None, deferoutput=deferred)
        self._out = out
        self._stream: Any = None

    def run(self, source: BinaryIO) -> None:
        """Until the input ends, or an error does."""
        for frame in frames_of(source):
            action, meta = self._reactor.onframerecv(frame)
            if action == b"error":
                report(error=meta[b"message"])
                return
            if action == b"runcommand":
                self._answer(meta)
        self._send(self._reactor.oninputeof())

    def _answer(self, meta: dict[bytes, Any]) -> None:
        report(request=meta[b"requestid"], command=meta[b"command"], args=meta[b"args"], data=meta[b"data"])
        if self._stream is None:
            self._stream = self._reactor.makeoutputstream()
        objects = COMMANDS[meta[b"command"]](meta[b"args"], meta[b"data"])
        self._send(self._reactor.oncommandresponsereadyobjects(self._stream, meta[b"requestid"], objects))

    def _send(self, action: tuple[bytes, dict[bytes, Any]]) -> None:
        if action[0] == b"sendframes":
            self._out.writelines(action[1][b"framegen"])
        self._out.flush()


class Client:
    """Calls, and what they bring."""

    def __init__(self, calls: dict[str, Any]) -> None:
        encodings = [octets(name) for name in calls["encodings"]]
        self._reactor = wireprotoframing.clientreactor(
            None, hasmultiplesend=True, buffersends=False, clientcontentencoders=encodings
        )
        self._calls = calls["calls"]
        self._decoders: dict[int, Any] = {}

    def call(self, out: BinaryIO) -> None:
        """All of them."""
        for call in self._calls:
            data = BytesIO(octets(call["data"])) if "data" in call else None
            args = {octets(key): octets(value) for key, value in call.get("args", {}).items()}
            request, _, meta = self._reactor.callcommand(octets(call["name"]), args, data)
            self._decoders[request.requestid] = cborutil.bufferingdecoder()
            out.writelines(meta[b"framegen"])
        out.flush()

    def listen(self, source: BinaryIO) -> None:
        """Until the input ends."""
        for frame in frames_of(source):
            if frame.typeid not in (3, 5, 9):
                report(passed_over=frame.typeid)
                continue
            self._take(*self._reactor.onframerecv(frame))

    def _take(self, action: bytes, meta: dict[bytes, Any]) -> None:
        if action == b"error":
            request = meta[b"request"].requestid if b"request" in meta else None
            report(request=request, error=meta[b"message"])
        elif action == b"responsedata":
            self._take_data(meta)

    def _take_data(self, meta: dict[bytes, Any]) -> None:
        id = meta[b"request"].requestid
        decoder = self._decoders[id]
        decoder.decode(meta[b"data"])
        report(request=id, objects=decoder.getavailable(), end=bool(meta[b"eos"]))


def frames_of(source: BinaryIO) -> Iterator[Any]:
    """One after the other."""
    while frame := wireprotoframing.readframe(source):
        yield frame


def octets(value: Any) -> Any:
    """What JSON can say, as the wire has it."""
    return value.encode("latin-1") if isinstance(value, str) else value


def report(**found: Any) -> None:
    """A line of what was understood."""
    sys.stderr.write(json.dumps(readable(found)) + "\n")
    sys.stderr.flush()


def readable(value: Any) -> Any:
    """What the wire has, as JSON can say it."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("latin-1")
    if isinstance(value, dict):
        return {readable(key): readable(inner) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(readable(inner) for inner in value)
    return [readable(inner) for inner in value] if isinstance(value, list | tuple) else value


def main(role: str, *arguments: str) -> None:
    """Play one role, once."""
    if role == "server":
        Server(sys.stdout.buffer, deferred="deferred" in arguments).run(sys.stdin.buffer)
        return
    client = Client(json.loads(arguments[0]))
    client.call(sys.stdout.buffer)
    os.close(sys.stdout.fileno())
    client.listen(sys.stdin.buffer)


if __name__ == "__main__":
    main(*sys.argv[1:])
