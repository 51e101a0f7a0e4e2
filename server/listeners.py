"""The places where the server listens: endpoints in Twisted's string form, and the ports that came of them."""

import errno
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLContextFactory,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from .errors import StartFailed

PORTS_FILE = "ports.json"
_NEXT_STEPS = {
    errno.EADDRINUSE: "stop the program that uses it (`ss -ltnp` names it), or listen elsewhere",
    errno.EACCES: "this user may not; choose a port above 1023, or let systemd open it (`systemd:` endpoint)",
    errno.EADDRNOTAVAIL: "this machine has no such address; check `interface`",
}


@frozen(kw_only=True)
class Listener:
    """One open port, and the words that asked for it."""

    endpoint: str
    port: IListeningPort

    def facts(self) -> dict[str, Any]:
        """Where clients find it: host and port, or path."""
        address = self.port.getHost()
        names = {name: getattr(address, name, None) for name in ("host", "port")}
        if names["port"] is None:
            names = {"path": _text(getattr(address, "name", None))}
        return {"endpoint": self.endpoint, **names}


def _text(name: str | bytes | None) -> str:
    return os.fsdecode(name) if name is not None else "?"


Prepare = Callable[[SSL.Context], None]
"""Told of the TLS of an endpoint before that listens; may raise StartFailed."""


class _PreparingReactor:
    """
    Listens as a reactor does, TLS prepared before.

    Of all that makes an endpoint from words, the reactor is the one thing that we hand in.
    """

    def __init__(self, reactor: Any, prepare: Prepare) -> None:
        self._reactor = reactor
        self._prepare = prepare

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenSSL(
        self, port: int, factory: IProtocolFactory, contextFactory: IOpenSSLContextFactory, **more: Any
    ) -> Any:
        """See IReactorSSL. The factory has one context, which it makes when it is first asked."""
        self._prepare(contextFactory.getContext())
        return self._reactor.listenSSL(port, factory, contextFactory=contextFactory, **more)


def parse_endpoint(reactor: Any, words: str, prepare: Prepare | None = None) -> IStreamServerEndpoint:
    """
    The endpoint of a string such as `ssl:port=8443:privateKey=key.pem:certKey=cert.pem`.

    Raises StartFailed.
    """
    if prepare is not None:
        reactor = _PreparingReactor(reactor, prepare)
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, words)
        return endpoint
    except Exception as error:
        raise StartFailed(
            f"`listen`: {words!r} is no usable endpoint: {_cause_of(error)}; write for example"
            " 'tcp:port=8080:interface=127.0.0.1' or 'ssl:port=8443:privateKey=/etc/key.pem:certKey=/etc/cert.pem'"
        ) from error


def _cause_of(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, (SSL.Error, crypto.Error)) and error.args:
        reasons = ", ".join(str(entry[-1]) for entry in error.args[0])
        return f"a file that it names holds no certificate or key in PEM form ({reasons})"
    return str(error).rstrip(".") or repr(error)


class Listeners:
    """All of the server's ports; `prepare` is told of the TLS of those that have it."""

    log = Logger()

    def __init__(
        self, *, reactor: Any, endpoints: Sequence[str], state_dir: Path, prepare: Prepare | None = None
    ) -> None:
        self._reactor = reactor
        self._prepare = prepare
        self._endpoints = endpoints
        self._ports_file = state_dir / PORTS_FILE
        self._open: list[Listener] = []

    async def open(self, factory: IProtocolFactory) -> None:
        """
        Listen on each endpoint, then say where.

        The file with the ports is there only while they are open. Raises StartFailed, with nothing left open.
        """
        try:
            self._ports_file.unlink(missing_ok=True)
            parsed = [
                (words, parse_endpoint(self._reactor, words, self._prepare)) for words in self._endpoints
            ]
            for words, endpoint in parsed:
                self._open.append(Listener(endpoint=words, port=await _listen(words, endpoint, factory)))
            self._announce()
        except OSError as error:
            self._abandon()
            raise StartFailed(
                f"{error.filename}: {error.strerror}; make it writable for this user"
            ) from error
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Close what is open. Not awaited: before the reactor runs nothing would come of it."""
        Deferred.fromCoroutine(self.close()).addErrback(self._not_closed)

    async def close(self) -> None:
        """Stop listening; open connections stay."""
        with suppress(OSError):
            self._ports_file.unlink(missing_ok=True)
        while self._open:
            await _stopped(self._open.pop().port)

    def _not_closed(self, failure: Failure) -> None:
        self.log.failure("a port was not closed", failure)

    def _announce(self) -> None:
        facts = [listener.facts() for listener in self._open]
        partial = self._ports_file.with_suffix(".partial")
        partial.write_text(json.dumps({"ports": facts}, indent=2) + "\n")
        partial.replace(self._ports_file)
        for fact in facts:
            place = fact.get("path") or f"{fact['host']} port {fact['port']}"
            self.log.info("listening on {place}", place=place)


async def _listen(words: str, endpoint: IStreamServerEndpoint, factory: IProtocolFactory) -> IListeningPort:
    try:
        return await endpoint.listen(factory)
    except (CannotListenError, OSError, OverflowError, ValueError, SSL.Error) as error:
        cause = error.socketError if isinstance(error, CannotListenError) else error
        number = cause.errno if isinstance(cause, OSError) else None
        reason = os.strerror(number).lower() if number else str(cause)
        next_step = _NEXT_STEPS.get(number or 0, "check the endpoint's words")
        place = _place_of(error) or words
        raise StartFailed(f"cannot listen on {place}: {reason}; {next_step}") from error


def _place_of(error: Exception) -> str | None:
    if not isinstance(error, CannotListenError):
        return None
    if isinstance(error.port, int):
        return f"port {error.port}" + (f" of {error.interface}" if error.interface else "")
    return _text(error.port)


async def _stopped(port: IListeningPort) -> None:
    done = port.stopListening()
    if done is not None:
        await done
