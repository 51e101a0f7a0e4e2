"""A plugin whose class is wrong is refused before it runs, with everything that is wrong."""

from collections.abc import Awaitable
from typing import Any

import pytest

from fieldpost.plugins import Message, Plugin, PluginInvalid, handles
from fieldpost.plugins.declaration import HOOKS, declaration_of, events_of
from fieldpost.wire.local import EVENTS


class Good(Plugin):
    name = "good"
    sends = ("load", "load-peak")
    interval = 60

    def run(self) -> None: ...

    def on_impending_exchange(self) -> None: ...

    @handles("reboot", "halt")
    def power(self, message: Message) -> None: ...


def faults_of(kind: type[Plugin]) -> str:
    with pytest.raises(PluginInvalid) as caught:
        declaration_of(kind)
    return str(caught.value)


def test_a_class_says_what_it_is() -> None:
    """Name, types and events are read off the class."""
    found = declaration_of(Good)

    assert found.name == "good"
    assert found.sends == ("load", "load-peak")
    assert found.handlers == {"reboot": "power", "halt": "power"}
    assert found.events == ("impending-exchange",)


def test_a_process_hears_what_its_plugins_want_and_of_dropped_sessions() -> None:
    """A resynchronize concerns every plugin, whether it asks or not."""
    assert events_of([declaration_of(Good)]) == ("impending-exchange", "resynchronize-clients")


def test_every_event_of_the_broker_has_its_method() -> None:
    """What the broker can say, a plugin can hear."""
    assert set(HOOKS) == set(EVENTS)


@pytest.mark.parametrize("name", ["", "Load", "9load", "load avg", "l" * 65, 7, None])
def test_a_name_must_be_fit_for_a_file(name: Any) -> None:
    """The manifest's file is called after the plugin."""
    kind = type("Named", (Plugin,), {"name": name})

    assert "`name` must be" in faults_of(kind)


def test_a_plugin_must_have_a_name() -> None:
    """Without one there is nothing to grant rights to."""

    class Nameless(Plugin): ...

    assert "test_declaration" in faults_of(Nameless)
    assert "`name` must be" in faults_of(Nameless)


@pytest.mark.parametrize("sends", ["load", ["load"], ("",), ("a;b",), (3,)])
def test_types_must_be_such_as_travel(sends: Any) -> None:
    """A lone text would be taken for a tuple of letters."""
    kind = type("Sender", (Plugin,), {"name": "sender", "sends": sends})

    assert "is no plugin" in faults_of(kind)


@pytest.mark.parametrize("interval", [0, -1, "60", True, float("inf"), float("nan")])
def test_an_interval_must_be_a_time(interval: Any) -> None:
    """Nothing runs without a pause."""
    kind = type("Runs", (Plugin,), {"name": "runs", "interval": interval, "run": lambda self: None})

    assert "`interval` must be" in faults_of(kind)


def test_a_run_that_is_never_called_is_a_mistake() -> None:
    """Who writes a run wants it to run."""
    kind = type("Runs", (Plugin,), {"name": "runs", "run": lambda self: None})

    assert "never called" in faults_of(kind)


@pytest.mark.parametrize("extra", [{"interval": 5}, {"run_at_start": True}])
def test_an_interval_without_a_run_is_a_mistake(extra: dict[str, Any]) -> None:
    """There would be nothing to call."""
    kind = type("Idle", (Plugin,), {"name": "idle", **extra})

    assert "need a method `run`" in faults_of(kind)


def test_a_misspelt_hook_is_found_with_the_right_name() -> None:
    """It would never be called, and nobody would notice."""

    class Misspelt(Plugin):
        name = "misspelt"

        def on_impeding_exchange(self) -> None: ...

    assert "did you mean `on_impending_exchange`?" in faults_of(Misspelt)


def test_a_hook_like_no_other_is_told_which_there_are() -> None:
    """When nothing is near, all are named."""

    class Odd(Plugin):
        name = "odd"

        def on_xyzzy(self) -> None: ...

    assert "there are on_acceptance_changed, on_exchange_done" in faults_of(Odd)


def test_a_hook_must_take_what_it_is_called_with() -> None:
    """Found at the start, not when the event comes."""

    class Narrow(Plugin):
        name = "narrow"
        run_at_start = True
        reset = "no method"  # type: ignore[assignment]

        def on_acceptance_changed(self, type: str) -> Awaitable[None] | None:  # type: ignore[override]
            return None

        def run(self, now: float) -> None: ...  # type: ignore[override]

    found = faults_of(Narrow)

    assert "`on_acceptance_changed` must take (self, type, accepted)" in found
    assert "`run` must take (self)" in found
    assert "`reset` must take (self)" in found


def test_a_handler_must_take_a_message_of_some_type() -> None:
    """The decorator needs a type, the method a message."""

    class Deaf(Plugin):
        name = "deaf"

        @handles()
        def nothing(self, message: Message) -> None: ...

        @handles("a;b")
        def odd(self, message: Message) -> None: ...

        @handles("reboot")
        def reboot(self) -> None: ...

    found = faults_of(Deaf)

    assert "`nothing` handles no type" in found
    assert "'a;b'" in found
    assert "`reboot` must take (self, message)" in found


def test_one_type_has_one_handler_in_a_plugin() -> None:
    """Two would race for the operation's result."""

    class Double(Plugin):
        name = "double"

        @handles("reboot")
        def first(self, message: Message) -> None: ...

        @handles("reboot")
        def second(self, message: Message) -> None: ...

    assert "`second` and `first` both handle 'reboot'" in faults_of(Double)
