"""The server says where it listens, and why it cannot."""

import errno
import json
import re
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from fieldpost.server.errors import StartFailed
from fieldpost.server.listeners import PORTS_FILE, Listeners, parse_endpoint
from tests.certificates import Authority


class RefusingReactor(MemoryReactor):
    """A reactor that listens until it is asked for the port 99."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.close_error: Exception | None = None
        self.stopped: list[int] = []

    def listenTCP(self, port: int, *args: Any, **kwargs: Any) -> Any:
        if port == 99:
            raise self.error
        opened = super().listenTCP(port, *args, **kwargs)

        def stop() -> "Deferred[None]":
            self.stopped.append(port)
            return fail(self.close_error) if self.close_error else succeed(None)

        opened.stopListening = stop
        return opened


def open_all(listeners: Listeners) -> Failure | None:
    found: list[Any] = []
    Deferred.fromCoroutine(listeners.open(Factory())).addBoth(found.append)
    result: Failure | None = found[0]
    return result


def listeners_of(folder: Path, *endpoints: str, reactor: Any = None) -> Listeners:
    return Listeners(reactor=reactor or MemoryReactor(), endpoints=endpoints, state_dir=folder)


def test_ports_file(tmp_path: Path) -> None:
    """While the server listens, a file says where; when it stops, the file is gone."""
    (tmp_path / PORTS_FILE).write_text("left by a server that was killed")
    listeners = listeners_of(tmp_path, "tcp:8080", "unix:/run/x.sock")

    with capturedLogs() as events:
        assert open_all(listeners) is None

    assert json.loads((tmp_path / PORTS_FILE).read_text()) == {
        "ports": [
            {"endpoint": "tcp:8080", "host": "0.0.0.0", "port": 8080},
            {"endpoint": "unix:/run/x.sock", "path": "/run/x.sock"},
        ]
    }
    assert [event["place"] for event in events] == ["0.0.0.0 port 8080", "/run/x.sock"]
    assert Deferred.fromCoroutine(listeners.close()).called
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # Twisted's own doing
def test_tls_is_prepared(tmp_path: Path) -> None:
    """What the settings add to TLS is in an endpoint's own context before that listens; other endpoints have none."""
    pem = Authority().issue("server.example").write(tmp_path / "server.pem")
    reactor, prepared = MemoryReactor(), list[SSL.Context]()
    listeners = Listeners(
        reactor=reactor,
        endpoints=["tcp:8080", f"ssl:8443:privateKey={pem}:interface=127.0.0.1:backlog=7"],
        state_dir=tmp_path,
        prepare=prepared.append,
    )

    assert open_all(listeners) is None

    ((port, _, made, backlog, interface),) = reactor.sslServers
    assert (port, backlog, interface) == (8443, 7, "127.0.0.1")
    assert prepared == [made.getContext()]
    assert len(reactor.tcpServers) == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("", "no usable endpoint"),
        ("nothing:8080", "nothing"),
        ("tcp", "no usable endpoint"),
        ("tcp:x", "no usable endpoint"),
        ("tcp:8080:interfce=x", "interfce"),
        (
            "ssl:8443:privateKey=/none/key.pem:certKey=/none/cert.pem",
            "No such file or directory: /none/cert.pem",
        ),
        (
            "ssl:8443:privateKey=KEY:certKey=KEY",
            r"no certificate or key in PEM form \(.+\); write for example",
        ),
        ("ssl:8443:privateKey=ONE:certKey=OTHER", "do not match; write for example"),
    ],
)
def test_words_that_are_no_endpoint(tmp_path: Path, words: str, hint: str) -> None:
    """Words that Twisted does not understand are told with an example of what it would."""
    (tmp_path / "key").write_text("no key")
    authority = Authority()
    (tmp_path / "one").write_bytes(authority.issue("server.example").key)
    (tmp_path / "other").write_bytes(authority.issue("server.example").certificate)
    for name in ("key", "one", "other"):
        words = words.replace(name.upper(), str(tmp_path / name))

    with pytest.raises(StartFailed, match="write for example 'tcp:port=8080") as caught:
        parse_endpoint(MemoryReactor(), words)

    assert re.search(hint, str(caught.value))


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (
            OSError(errno.EADDRINUSE, "x"),
            "cannot listen on port 99 of here: address already in use; stop the program",
        ),
        (OSError(errno.EACCES, "x"), "permission denied; this user may not; choose a port above 1023"),
        (OSError(errno.EADDRNOTAVAIL, "x"), "this machine has no such address"),
        (OSError(errno.EMFILE, "x"), "too many open files; check the endpoint's words"),
        (OSError("odd"), "odd; check the endpoint's words"),
    ],
)
def test_port_that_cannot_be_had(tmp_path: Path, error: OSError, hint: str) -> None:
    """The reason names the port and the next step; ports opened before are closed again."""
    reactor = RefusingReactor(CannotListenError("here", 99, error))
    listeners = listeners_of(tmp_path, "tcp:98", "tcp:99:interface=here", reactor=reactor)

    failure = open_all(listeners)

    assert isinstance(failure, Failure)
    assert isinstance(failure.value, StartFailed)
    assert hint in str(failure.value)
    assert reactor.stopped == [98]
    assert not (tmp_path / PORTS_FILE).exists()


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (CannotListenError("", 99, OSError(errno.EADDRINUSE, "x")), "cannot listen on port 99: address"),
        (
            CannotListenError(None, "/run/x", OSError(errno.EADDRINUSE, "x")),
            "cannot listen on /run/x: address",
        ),
        (OSError(errno.EPERM, "x"), "cannot listen on tcp:99: operation not permitted"),
        (OverflowError("port must be 0-65535"), "cannot listen on tcp:99: port must be 0-65535; check"),
        (
            SSL.Error([("SSL routines", "", "ee key too small")]),
            "cannot listen on tcp:99: [('SSL routines', '', 'ee",
        ),
    ],
)
def test_names_of_places(tmp_path: Path, error: Exception, hint: str) -> None:
    """A place is named as well as it is known."""
    failure = open_all(listeners_of(tmp_path, "tcp:99", reactor=RefusingReactor(error)))

    assert isinstance(failure, Failure)
    assert hint in str(failure.value)


def test_port_that_does_not_close(tmp_path: Path) -> None:
    """What goes wrong with one port does not hide the other's reason, and is logged."""
    reactor = RefusingReactor(OSError(errno.EADDRINUSE, "x"))
    reactor.close_error = RuntimeError("stuck")

    with capturedLogs() as events:
        failure = open_all(listeners_of(tmp_path, "tcp:98", "tcp:99", reactor=reactor))

    assert isinstance(failure, Failure)
    assert "address already in use" in str(failure.value)
    assert [str(event["log_failure"].value) for event in events] == ["stuck"]
