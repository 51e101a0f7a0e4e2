"""The service manager hears of a service what the service itself says."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from fieldpost.agent.vitals import EVERY, Vitals
from fieldpost.runtime.notify import Notifier


class Patient:
    """A service that is ready, and answers, when the test says so."""

    def __init__(self) -> None:
        self.ready: Deferred[None] = Deferred()
        self.answer: Deferred[str] = succeed("3 pending")

    async def when_ready(self) -> None:
        await self.ready

    async def vitals(self) -> str:
        return await self.answer


class Manager:
    """The end of systemd."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """What was said since the last time."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def _vitals(manager: Manager, patient: Patient, clock: Clock, interval: float | None = None) -> Vitals:
    return Vitals(service=patient, notifier=Notifier(manager.path, interval), clock=clock)


def test_ready_is_said_when_the_service_is(manager: Manager) -> None:
    """Not when its process has started."""
    patient, clock = Patient(), Clock()
    _vitals(manager, patient, clock).start()
    assert manager.heard() == []

    patient.ready.callback(None)

    assert manager.heard() == ["READY=1\nSTATUS=3 pending"]


def test_signs_of_life_come_three_times_as_often_as_they_must(manager: Manager) -> None:
    """One that is late does not cost the service its life."""
    patient, clock = Patient(), Clock()
    patient.ready.callback(None)
    _vitals(manager, patient, clock, interval=6.0).start()
    manager.heard()

    clock.pump([2.0] * 3)

    assert manager.heard() == ["WATCHDOG=1\nSTATUS=3 pending"] * 3


def test_a_service_that_does_not_answer_gives_no_sign_of_life(manager: Manager) -> None:
    """A reactor that turns is not enough."""
    patient, clock = Patient(), Clock()
    patient.ready.callback(None)
    _vitals(manager, patient, clock).start()
    manager.heard()
    patient.answer = Deferred()

    clock.pump([EVERY] * 5)
    assert manager.heard() == []

    patient.answer.callback("well again")
    assert manager.heard() == ["WATCHDOG=1\nSTATUS=well again"]


def test_after_a_stop_nothing_more_is_said(manager: Manager) -> None:
    """The service manager learns that the end was asked for."""
    patient, clock = Patient(), Clock()
    patient.ready.callback(None)
    vitals = _vitals(manager, patient, clock)
    vitals.start()
    manager.heard()

    vitals.stop()
    clock.pump([EVERY] * 2)

    assert manager.heard() == ["STOPPING=1"]
    assert not clock.getDelayedCalls()


def test_an_answer_that_comes_after_the_stop_is_not_passed_on(manager: Manager) -> None:
    """READY after STOPPING would confuse."""
    patient, clock = Patient(), Clock()
    vitals = _vitals(manager, patient, clock)
    vitals.start()

    vitals.stop()
    patient.ready.callback(None)

    assert manager.heard() == ["STOPPING=1"]
