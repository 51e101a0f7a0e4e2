"""How the server as a service opens and closes its parts, without a process."""

from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.usage import UsageError

from fieldpost.server.errors import StartFailed, Stopping
from fieldpost.server.listeners import Listeners
from fieldpost.server.service import ServerService
from fieldpost.server.settings import AccountSection, ServerSection, ServerSettings, api_token_of, policy_of
from fieldpost.server.tap import Options, makeService
from tests.runtime.session.pair import error_of


class ThreadedReactor(MemoryReactorClock):
    """A reactor in memory that takes calls from threads and runs them when it is asked to."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self._calls: SimpleQueue[Any] = SimpleQueue()
        self._error = error

    def callFromThread(self, function: Any, *args: Any, **kwargs: Any) -> None:
        self._calls.put(lambda: function(*args, **kwargs))

    def run_until(self, done: "Deferred[Any]") -> None:
        while not done.called:
            self._calls.get(timeout=120)()

    def listenTCP(self, port: int, *args: Any, **kwargs: Any) -> Any:
        if self._error is not None:
            raise self._error
        return super().listenTCP(port, *args, **kwargs)


def service_in(
    folder: Path, reactor: ThreadedReactor, api_token: str | None = None, listeners: Any = None
) -> ServerService:
    section = ServerSection(state_dir=folder / "state", listen=("tcp:8080",), api_token=api_token)
    settings = ServerSettings(server=section, accounts={"a": AccountSection()})
    return ServerService(
        reactor=reactor,
        settings=settings,
        policy=policy_of(settings),
        api_token=api_token_of(settings),
        listeners=listeners
        or Listeners(reactor=reactor, endpoints=section.listen, state_dir=section.state_dir),
    )


def test_start_and_stop(tmp_path: Path) -> None:
    """A server that was started listens; stopped, it leaves its database closed and nothing else."""
    reactor = ThreadedReactor()
    service = service_in(tmp_path, reactor)

    with capturedLogs() as events:
        service.startService()
    assert (tmp_path / "state" / "ports.json").exists()
    reactor.run_until(service.stopService())

    assert [file.name for file in (tmp_path / "state").iterdir()] == ["server.sqlite"]
    assert any("API is closed" in event["log_format"] for event in events)


def test_no_warning_with_a_token(tmp_path: Path) -> None:
    """A server with a token has nothing to warn of."""
    reactor = ThreadedReactor()
    service = service_in(tmp_path, reactor, "token")

    with capturedLogs() as events:
        service.startService()
    reactor.run_until(service.stopService())

    assert [event for event in events if event["log_level"] >= LogLevel.warn] == []


def test_stop_while_somebody_waits_for_a_computer(tmp_path: Path) -> None:
    """Who waits is told that the server stops, instead of being cut off."""
    reactor = ThreadedReactor()
    service = service_in(tmp_path, reactor, "token")
    service.startService()
    assert service._server is not None
    waiting = service._server.registry.wait_for(1, 30)

    reactor.run_until(service.stopService())

    assert isinstance(error_of(waiting), Stopping)


def test_stop_without_start(tmp_path: Path) -> None:
    """What was never opened need not be closed."""
    assert service_in(tmp_path, ThreadedReactor()).stopService().called


def test_listening_that_fails(tmp_path: Path) -> None:
    """A server that cannot listen ends the process with the reason."""
    error = CannotListenError("", 8080, OSError(98, "x"))

    with pytest.raises(StartFailed, match="cannot listen on port 8080"):
        service_in(tmp_path, ThreadedReactor(error)).startService()


def test_listening_that_fails_later(tmp_path: Path) -> None:
    """An endpoint that fails when the reactor runs already stops it."""

    class SlowListeners:
        def __init__(self) -> None:
            self.result: Deferred[None] = Deferred()

        async def open(self, factory: Any) -> None:
            await self.result

        async def close(self) -> None:
            pass

    reactor, listeners = ThreadedReactor(), SlowListeners()
    service = service_in(tmp_path, reactor, listeners=listeners)
    service.startService()

    with capturedLogs() as events:
        listeners.result.errback(StartFailed("the tunnel is closed"))

    assert [event["cause"] for event in events] == ["the tunnel is closed"]
    assert reactor.hasStopped
    reactor.run_until(service.stopService())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("state", "`state-dir` .* cannot be made: file exists"),
        ("state/ports.json/x", "ports.json: Is a directory; make"),
    ],
)
def test_folder_that_cannot_be_used(tmp_path: Path, name: str, hint: str) -> None:
    """Without its folder and the files in it there is no server."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("in the way")

    with pytest.raises(StartFailed, match=hint):
        service_in(tmp_path, ThreadedReactor()).startService()


def test_database_that_is_none(tmp_path: Path) -> None:
    """Nor without its database."""
    (tmp_path / "state" / "server.sqlite").mkdir(parents=True)

    with pytest.raises(StartFailed, match="server.sqlite"):
        service_in(tmp_path, ThreadedReactor()).startService()


def test_failure_ends_the_process() -> None:
    """Uncaught, a failed start ends Python with the text and the exit code 1, while twistd sees an Exception."""
    failed = StartFailed("no port")

    assert isinstance(failed, Exception)
    assert isinstance(failed, SystemExit)
    assert failed.code == "fieldpost-server: no port"


def test_made_from_the_command_line(tmp_path: Path) -> None:
    """The configuration's path comes from the command line."""
    config = tmp_path / "my.toml"
    config.write_text('[server]\nstate-dir = "s"\nlisten = ["tcp:0"]\n[account.a]\n')
    options = Options()
    options.parseOptions(["-c", str(config)])

    assert IService.providedBy(makeService(options))


def test_wrong_configuration(tmp_path: Path) -> None:
    """A configuration that cannot be used ends the process with what is wrong."""
    options = Options()
    options.parseOptions(["--config", str(tmp_path / "none.toml")])

    with pytest.raises(SystemExit, match="the configuration cannot be used\n.*none.toml: cannot be read"):
        makeService(options)


def test_wrong_command_line() -> None:
    """An option that is none is the caller's mistake."""
    with pytest.raises(UsageError):
        Options().parseOptions(["--confg", "x"])
