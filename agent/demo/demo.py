"""
The demo: a server, a broker and plugins as real processes, and somebody who watches what arrives.

It starts the server, waits for its port, writes the agent's configuration, starts the agent, and from then on asks:
the server's API what has arrived, the broker what it has stored and sent. As soon as the server knows the computer, one
operation is sent through the API. What is seen goes into a Sight; the view shows it.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from attrs import asdict, frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from ...runtime.doors import returns_deferred
from ...wire.errors import FieldpostError
from ..broker_client import BrokerAway, BrokerClient, BrokerRefused
from ..config import Log, load_config
from ..manifest import load_manifests
from ..programs import agent_programs, own_program
from ..supervision.child import RestartPolicy
from ..supervision.processes import Spawner, resident_kib
from ..supervision.supervisor import Supervisor
from ..threads import Threads
from .api_client import ApiAway, ApiClient, ApiRefused
from .folder import EXPECTED_TYPES, HOST, DemoFolder
from .sight import LIVE, Sight
from .view import NoView, View

LOOK_EVERY = 0.25
ASK_WITHIN = 3.0
"""Seconds that the server or the broker may take for an answer."""
SESSION_WITHIN = 10.0
"""Seconds in which a session is waited for."""
OPERATION = "execute-script"
SCRIPT = "uname -srm\n"
POLICY = RestartPolicy(base=0.5, cap=2.0, steady_after=10.0, stop_grace=5.0)


@frozen(kw_only=True)
class Outcome:
    """How a demo ended. `reason` says why it did not work, None when it did."""

    sight: Sight
    seconds: float
    reason: str | None = None


class DemoFailed(FieldpostError):
    """There is no sense in going on; the text says why."""


class Demo(Service):
    """
    The whole of it as a service.

    `on_outcome` is called once: when all has been seen and `once` is set, or when it failed. Without `once` a demo that
    works goes on until it is stopped.
    """

    log = Logger()

    def __init__(
        self,
        *,
        folder: DemoFolder,
        reactor: Any,  # of which Twisted has no one interface
        spawner: Spawner,
        random: Random,
        view: View,
        user: str,
        once: bool,
        timeout: float,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        self._folder = folder
        self._reactor = reactor
        self._spawner = spawner
        self._random = random
        self._view = view
        self._user = user
        self._once = once
        self._timeout = timeout
        self._on_outcome = on_outcome
        self._threads = Threads(reactor=reactor, limit=1)
        self._supervisors: list[Supervisor] = []
        self._watching: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None
        self._sight = Sight(expected=EXPECTED_TYPES)
        self._operation_key = f"demo-{random.getrandbits(128):032x}"
        self._cursor = 0
        self._started = 0.0

    def startService(self) -> None:
        """Start all, and watch."""
        super().startService()
        self._started = self._reactor.seconds()
        self._view.start()
        self._watching = Deferred.fromCoroutine(self._watch())
        if self._once:
            self._deadline = self._reactor.callLater(self._timeout, self._give_up)

    @returns_deferred
    async def stopService(self) -> None:
        """End all, the agent before the server."""
        super().stopService()
        self._stop_watching()
        for supervisor in reversed(self._supervisors):
            await supervisor.stopService()
        self._view.stop()

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _give_up(self) -> None:
        self._stop_watching()
        self._conclude(f"after {self._timeout:g} s: {self._sight.reason()}")

    @property
    def seconds(self) -> float:
        """Since the start."""
        seconds: float = self._reactor.seconds() - self._started
        return seconds

    def outcome(self, reason: str | None) -> Outcome:
        """What has been seen until now; `reason` is why that is not all."""
        return Outcome(sight=self._sight, seconds=self.seconds, reason=reason)

    async def _watch(self) -> None:
        try:
            await self._run()
        except CancelledError:
            return
        except FieldpostError as error:
            self._conclude(str(error))
        except BrokenPipeError:
            self._view = NoView()
            self._conclude("nobody reads what it shows")
        except Exception:  # noqa: BLE001 - whoever runs the demo must get an outcome
            self.log.failure("the demo failed")
            self._conclude("the demo itself failed; its log says how")

    async def _run(self) -> None:
        self._supervise(
            own_program(
                "server",
                ("server", "--config", str(self._folder.server_config)),
                log=Log(),
                user=None,
                origin=self._folder.server_config,
            )
        )
        port = await self._server_port()
        self._start_agent(port)
        api = ApiClient(
            host=HOST,
            port=port,
            token=self._folder.api_token(),
            ca_file=self._folder.ca_file,
            timeout=ASK_WITHIN,
        )
        while not (self._once and self._sight.is_complete):
            await self._threads.run(self._look, api)
            self._show()
            await self._pause()
        self._conclude(None)

    def _start_agent(self, port: int) -> None:
        self._folder.write_agent_config(port)
        config = load_config(self._folder.agent_config)
        manifests = load_manifests(config.plugins.manifests)
        self._supervise(*agent_programs(config, manifests, file=self._folder.agent_config))

    def _supervise(self, *programs: Any) -> None:
        supervisor = Supervisor(
            programs=programs,
            policy=POLICY,
            spawner=self._spawner,
            clock=self._reactor,
            random=self._random,
            on_line=self._keep_line,
        )
        self._supervisors.append(supervisor)
        supervisor.startService()

    def _keep_line(self, name: str, line: str) -> None:
        self.log.info("{child}: {line}", child=name, line=line)

    async def _server_port(self) -> int:
        while (port := self._folder.server_port()) is None:
            self._show()
            await self._pause()
        return port

    def _show(self) -> None:
        self._sight.children = tuple(child for s in self._supervisors for child in s.status())
        self._view.show(self._sight)

    async def _pause(self) -> None:
        """Raises DemoFailed when it is no use to wait."""
        hopeless = self._sight.hopeless()
        if hopeless:
            raise DemoFailed(hopeless)
        await deferLater(self._reactor, LOOK_EVERY, lambda: None)

    def _conclude(self, reason: str | None) -> None:
        self._show()
        self._on_outcome(self.outcome(reason))

    # In the thread: nothing here may wait for long, nor touch anything but the sight.

    def _look(self, api: ApiClient) -> None:
        self._sight.server_trouble = self._ask_server(api)
        self._sight.broker_trouble = self._ask_broker()

    def _ask_server(self, api: ApiClient) -> str | None:
        try:
            messages, self._cursor = api.messages(self._cursor)
            self._sight.note_messages(messages)
            self._follow_operation(api)
        except (ApiAway, ApiRefused) as error:
            return str(error)
        return None

    def _follow_operation(self, api: ApiClient) -> None:
        sight = self._sight
        if sight.operation is None:
            computers = api.computers()
            sight.note_computers(computers)
            if sight.computer is not None and sight.handles(OPERATION, computers) and self._may_ask():
                fields = {"interpreter": "/bin/sh", "code": SCRIPT, "username": self._user}
                sight.operation = api.add_operation(
                    computer=sight.computer, type=OPERATION, fields=fields, key=self._operation_key
                )
        elif sight.operation["finished"] is None:
            sight.operation = api.operation(sight.operation["id"])

    def _may_ask(self) -> bool:
        """The operation is to travel over the session; but should there be none, it shows that POST does as well."""
        return self._sight.carrier == LIVE or self.seconds > SESSION_WITHIN

    def _ask_broker(self) -> str | None:
        try:
            with BrokerClient(self._folder.socket, timeout=ASK_WITHIN) as broker:
                self._sight.status = broker.status()
        except (BrokerAway, BrokerRefused) as error:
            return str(error)
        return None


def as_json(outcome: Outcome, folder: DemoFolder) -> str:
    """The one document of `--json`."""
    sight = outcome.sight
    status = sight.status or {}
    return json.dumps(
        {
            "ok": outcome.reason is None,
            "reason": outcome.reason,
            "seconds": round(outcome.seconds, 3),
            "state": str(folder.path),
            "types": {
                kind: {
                    name: round(value, 3) if isinstance(value, float) else value
                    for name, value in asdict(figures).items()
                }
                for kind, figures in sight.types.items()
            },
            "operation": sight.operation,
            "computer": sight.computer,
            "broker": {name: status.get(name) for name in ("registration", "session", "exchange", "store")},
            "processes": {
                child.name: {"starts": child.starts, "resident-kib": resident_kib(child.pid)}
                for child in sight.children
            },
        },
        indent=2,
    )
