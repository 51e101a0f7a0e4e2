"""What the broker says finds the plugin that it is for."""

from random import Random

import pytest
from twisted.internet.task import Clock

from fieldpost.plugins import Message, Plugin, PluginInvalid, handles
from fieldpost.plugins.context import Surroundings
from fieldpost.plugins.plugin import NoSettings
from fieldpost.plugins.roster import Roster
from fieldpost.plugins.runner import Runner
from fieldpost.testing import FakeBroker, FakeSpawner, FakeThreads, result_of
from fieldpost.wire.local import DONE, EXCHANGE_DONE, NOT_HANDLED, Deliver, Event, Outcome, Welcome


class Echo(Plugin):
    name = "echo"
    interval = 60

    def run(self) -> None:
        self.send({"type": self.name})

    def reset(self) -> None:
        self.send({"type": f"{self.name}-reset"})

    def on_exchange_done(self) -> None:
        self.send({"type": f"{self.name}-heard"})

    @handles("say")
    def say(self, message: Message) -> str:
        return f"{self.name} says {message['word']}"


class Parrot(Echo):
    name = "parrot"


class Process:
    """A process with two plugins."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.broker = FakeBroker()
        self.roster = Roster()
        self.surroundings = Surroundings(
            broker=self.broker,
            clock=self.clock,
            now=self.clock.seconds,
            random=Random(0),
            in_thread=FakeThreads().run,
            spawner=FakeSpawner(),
        )
        self.broker.listen(on_deliver=self.roster.deliver, on_event=self.roster.event)
        for kind in (Echo, Parrot):
            self.add(kind)

    def add(self, kind: type[Plugin]) -> None:
        self.roster.add(Runner(kind, settings=NoSettings(), surroundings=self.surroundings))

    def said(self) -> list[str]:
        return sorted(message["type"] for message in self.broker.messages)


WELCOME = Welcome(version=1, accepted_types=(), registered=True, last_batch=0)


def test_all_plugins_run() -> None:
    """Each by its own clock."""
    process = Process()
    assert [runner.name for runner in process.roster] == ["echo", "parrot"]

    process.roster.start()
    process.clock.pump([1] * 7)

    assert process.said() == ["echo", "parrot"]
    assert len(process.roster) == 2


def test_two_plugins_cannot_have_one_name() -> None:
    """The broker could not tell them apart."""
    with pytest.raises(PluginInvalid, match="two plugins are called 'echo'"):
        Process().add(Echo)


def test_a_message_reaches_the_plugin_that_it_is_for() -> None:
    """Though others handle its type."""
    process = Process()

    outcome = process.broker.deliver("parrot", {"type": "say", "word": "ah"})

    assert result_of(outcome) == Outcome(status=DONE, result_text="parrot says ah")


def test_a_message_for_nobody_here_is_not_handled() -> None:
    """The broker then answers the operation."""
    outcome = Process().roster.deliver(Deliver(plugin="stranger", number=1, message={"type": "say"}))

    assert result_of(outcome) == Outcome(status=NOT_HANDLED)


def test_an_event_reaches_everybody() -> None:
    """Once each."""
    process = Process()

    process.broker.fire(EXCHANGE_DONE)

    assert process.said() == ["echo-heard", "parrot-heard"]


def test_a_new_connection_makes_good_what_was_missed() -> None:
    """For everybody whose session was dropped meanwhile."""
    process = Process()
    process.roster.start()
    process.clock.pump([1] * 7)
    process.broker.drop_sessions()

    process.roster.welcome(WELCOME)

    assert process.said() == ["echo", "echo", "echo-reset", "parrot", "parrot", "parrot-reset"]


def test_after_the_stop_nobody_hears_anything() -> None:
    """What comes late is not half done."""
    process = Process()
    process.roster.start()

    assert result_of(process.roster.stop(5))
    process.broker.fire(EXCHANGE_DONE)
    outcome = process.roster.deliver(Deliver(plugin="echo", number=1, message={"type": "say", "word": "x"}))
    process.roster.event(Event(name=EXCHANGE_DONE, details={}))
    process.clock.pump([60] * 3)

    assert result_of(outcome) == Outcome(status=NOT_HANDLED)
    assert process.said() == []
