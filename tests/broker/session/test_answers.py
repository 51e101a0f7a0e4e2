"""What the server asks is answered exactly once, and nothing that it asks can fill memory here."""

import re
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.broker.output import BEGIN_WITHIN, Outputs, Progress
from fieldpost.broker.schedule import Urgency
from fieldpost.broker.session.answers import MAX_LINES, ServersRequests
from fieldpost.runtime.session.errors import CommandFailed
from fieldpost.wire.local import MAX_OUTPUT_CHARACTERS
from tests.runtime.session.pair import Pair


class Process:
    def __init__(self, *, alive: bool) -> None:
        self.alive = alive

    def ping(self, plugin: str) -> "Deferred[bool]":
        return succeed(self.alive)


class Processes:
    def of_plugin(self, name: str) -> Process | None:
        return {"load": Process(alive=True), "hung": Process(alive=False)}.get(name)


class AnswerTestCase(SynchronousTestCase):
    capacity: int | None = None

    def setUp(self) -> None:
        self.asked: list[Urgency] = []
        self.clock = Clock()
        self.outputs = Outputs(clock=self.clock)
        self.lines = [f"line {number}" for number in range(1_000)]
        requests = ServersRequests(
            ask=self.asked.append,
            links=Processes(),
            outputs=self.outputs,
            log_lines=lambda count: self.lines[-count:] if count else [],
        )
        self.pair = Pair(client=requests.handlers, capacity=self.capacity)
        self.texts: list[str] = []
        self.progress: list[Any] = []

    def ask(self, name: str, **args: Any) -> "Deferred[Any]":
        answer = self.pair.server.call(
            name,
            args,
            on_output=self.texts.append,
            on_progress=lambda event: self.progress.append((event.topic, event.position, event.total)),
        )
        self.pair.settle()
        return answer

    def failure(self, answer: "Deferred[Any]") -> CommandFailed:
        error: CommandFailed = self.failureResultOf(answer, CommandFailed).value
        return error

    @property
    def text(self) -> str:
        return "".join(self.texts)


class PushTests(AnswerTestCase):
    @pytest.mark.conformance("N21")
    def test_exchange_now(self) -> None:
        """An exchange comes at once, however many there were."""
        assert self.successResultOf(self.ask("exchange-now")) == ()
        assert self.asked == [Urgency.CALLED]

    @pytest.mark.conformance("N21")
    def test_unknown(self) -> None:
        """A command that we do not have is refused; the session lives."""
        assert self.failure(self.ask("reboot")).code == "unknown-command"
        self.successResultOf(self.ask("exchange-now"))

    def test_ping_plugin(self) -> None:
        """A plugin's process answers, hangs, or is not there."""
        assert self.successResultOf(self.ask("ping-plugin", plugin="load")) == ({b"plugin": b"load"},)
        assert self.successResultOf(self.ask("ping-plugin", plugin=b"load")) == ({b"plugin": b"load"},)
        assert self.failure(self.ask("ping-plugin", plugin="hung")).code == "no-answer"
        assert self.failure(self.ask("ping-plugin", plugin="other")).code == "no-plugin"
        assert self.failure(self.ask("ping-plugin", plugin=7)).code == "malformed"
        assert self.failure(self.ask("ping-plugin")).code == "malformed"


class TailTests(AnswerTestCase):
    def test_as_it_is_written(self) -> None:
        """The operator sees what an operation writes, and how far it is, until it ends."""
        self.outputs.begin(7)
        self.outputs.add(7, "before\n")
        answer = self.ask("tail", operation=7)
        assert self.text == "before\n"

        self.outputs.add(7, "héllo 100%s\n")
        self.outputs.progress(7, Progress(topic="steps", position=1, total=2))
        self.outputs.progress(7, Progress(topic="steps", position=2))
        self.pair.settle()
        assert self.text == "before\nhéllo 100%s\n"
        self.assertNoResult(answer)
        self.outputs.end(7)
        self.pair.settle()

        assert self.successResultOf(answer) == ()
        assert self.progress[-1][:2] == (b"steps", 2)

    def test_much_at_once(self) -> None:
        """Is cut into frames."""
        self.outputs.begin(7)
        self.outputs.add(7, "€" * MAX_OUTPUT_CHARACTERS)

        self.ask("tail", operation=7)

        assert self.text == "€" * MAX_OUTPUT_CHARACTERS

    def test_not_running(self) -> None:
        """An operation that does not come is not waited for for ever."""
        answer = self.ask("tail", operation=7)
        self.assertNoResult(answer)

        self.clock.advance(BEGIN_WITHIN)
        self.pair.settle()

        assert self.failure(answer).code == "not-running"

    def test_taken_back(self) -> None:
        """Whoever stops watching costs nothing any more."""
        self.outputs.begin(7)
        answer = self.ask("tail", operation=7)
        answer.cancel()
        self.pair.settle()
        self.failureResultOf(answer)

        self.outputs.add(7, "more")
        self.pair.settle()

        assert self.texts == []
        assert self.outputs._running[7].watches == []

    def test_lost(self) -> None:
        """So does a session that is lost."""
        self.outputs.begin(7)
        answer = self.ask("tail", operation=7)

        self.pair.lose()

        self.failureResultOf(answer)
        assert self.outputs._running[7].watches == []

    def test_log(self) -> None:
        """The last lines of the log, no more than there may be."""
        assert self.successResultOf(self.ask("tail", log=2)) == ()
        assert self.text == "line 998\nline 999\n"
        self.texts.clear()
        self.ask("tail", log=10_000)
        assert self.text.count("\n") == MAX_LINES

    def test_malformed(self) -> None:
        """Is refused."""
        for args in ({}, {"operation": "7"}, {"operation": -1}, {"log": None}):
            assert self.failure(self.ask("tail", **args)).code == "malformed"


class SlowTests(AnswerTestCase):
    capacity = 8_192

    def test_a_slow_server(self) -> None:
        """What it does not take does not pile up: it gets the newest, and is told how much it does not get."""
        self.outputs.begin(7)
        self.ask("tail", operation=7)
        for number in range(200):
            self.outputs.add(7, f"{number:04} " + "x" * 10_000 + "\n")
            self.pair.clock.advance(0)
        assert self.pair.client_end.session.unsent < 200_000

        self.outputs.end(7)
        self.pair.settle()

        assert self.text.endswith("0199 " + "x" * 10_000 + "\n")
        assert len(self.text) < 400_000
        notes = re.findall(r"\n\[(\d+) characters were left out here\]\n", self.text)
        shown = re.sub(r"\n\[\d+ characters were left out here\]\n", "", self.text)
        assert sum(map(int, notes)) + len(shown) == 200 * len("0199 " + "x" * 10_000 + "\n")
