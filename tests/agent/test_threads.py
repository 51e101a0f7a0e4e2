"""What may block runs in threads that hold nobody up."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from fieldpost.agent.threads import Threads
from fieldpost.testing import result_of


class Reactor:
    """Keeps what threads give it, until the test takes it."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def callFromThread(self, callable: Callable[..., Any], *args: object) -> None:
        self.calls.put(lambda: callable(*args))

    def turn(self) -> None:
        self.calls.get(timeout=120)()


def test_a_result_comes_in_the_reactors_thread() -> None:
    """The work is done in another."""
    reactor = Reactor()
    done = Threads(reactor=reactor).run(threading.current_thread)  # type: ignore[arg-type]

    reactor.turn()

    thread = result_of(done)
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_a_failure_comes_as_well() -> None:
    """As it was raised."""
    reactor = Reactor()
    done = Threads(reactor=reactor).run(int, "x")  # type: ignore[arg-type]

    reactor.turn()

    with pytest.raises(ValueError, match="invalid literal"):
        result_of(done)


def test_only_so_many_run_at_a_time_and_the_others_come_after_in_order() -> None:
    """A dead file server takes no more threads than that."""
    reactor = Reactor()
    threads = Threads(reactor=reactor, limit=2)  # type: ignore[arg-type]
    gates = [threading.Event() for _ in range(4)]
    entered: SimpleQueue[int] = SimpleQueue()

    def work(number: int) -> int:
        entered.put(number)
        gates[number].wait(10)
        return number

    done: list[Deferred[int]] = [threads.run(work, number) for number in range(4)]
    assert {entered.get(timeout=120), entered.get(timeout=120)} == {0, 1}
    assert entered.empty()

    gates[1].set()
    reactor.turn()
    assert entered.get(timeout=120) == 2
    for gate in gates:
        gate.set()
    for _ in range(3):
        reactor.turn()

    assert [result_of(one) for one in done] == [0, 1, 2, 3]
