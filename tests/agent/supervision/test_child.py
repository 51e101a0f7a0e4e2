"""The machine of one supervised process."""

from pathlib import Path
from random import Random

import pytest
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.agent.supervision.child import (
    TRANSITIONS,
    ChildAction,
    ChildInput,
    ChildMachine,
    ChildState,
    RestartPolicy,
)

POLICY = RestartPolicy(base=1.0, cap=8.0, steady_after=30.0, stop_grace=10.0)


def machine_in(state: ChildState) -> ChildMachine:
    return ChildMachine(policy=POLICY, random=Random(1), state=state)


@pytest.mark.parametrize("state", ChildState)
@pytest.mark.parametrize("happened", ChildInput)
def test_every_pair(state: ChildState, happened: ChildInput) -> None:
    """Every input in every state moves as the table says, or is an error."""
    machine = machine_in(state)

    if (state, happened) in TRANSITIONS:
        machine.take(happened, 0.0)
        assert machine.state is TRANSITIONS[state, happened]
    else:
        with pytest.raises(KeyError):
            machine.take(happened, 0.0)


class ChildMachineTests(SynchronousTestCase):
    def test_a_life(self) -> None:
        """A child starts, dies, is started again after a pause, and ends when it is asked to."""
        machine = machine_in(ChildState.IDLE)

        self.assertIs(ChildAction.SPAWN, machine.take(ChildInput.START, 0.0))
        self.assertIsNone(machine.take(ChildInput.EXITED, 1.0))
        deadline = machine.next_deadline()
        assert deadline is not None
        self.assertTrue(1.5 <= deadline <= 2.0, deadline)
        self.assertIs(ChildAction.SPAWN, machine.take(ChildInput.DUE, deadline))
        self.assertIs(ChildAction.TERMINATE, machine.take(ChildInput.STOP, 3.0))
        self.assertIsNone(machine.take(ChildInput.EXITED, 4.0))
        self.assertEqual(
            (ChildState.ENDED, None, 2), (machine.state, machine.next_deadline(), machine.starts)
        )

    def test_kill(self) -> None:
        """A child that does not end within its grace is killed, once."""
        machine = machine_in(ChildState.RUNNING)

        machine.take(ChildInput.STOP, 5.0)
        self.assertEqual(15.0, machine.next_deadline())
        self.assertIs(ChildAction.KILL, machine.take(ChildInput.DUE, 15.0))
        self.assertIsNone(machine.next_deadline())

    def test_second_stop_moves_nothing(self) -> None:
        """Asking twice gives no longer grace."""
        machine = machine_in(ChildState.RUNNING)
        machine.take(ChildInput.STOP, 5.0)

        self.assertIsNone(machine.take(ChildInput.STOP, 9.0))
        self.assertEqual(15.0, machine.next_deadline())

    def test_quick_deaths(self) -> None:
        """Quick deaths make the pauses longer, up to the cap; the pause is never below half."""
        machine = machine_in(ChildState.IDLE)
        machine.take(ChildInput.START, 0.0)
        now = 0.0
        for longest in (1.0, 2.0, 4.0, 8.0, 8.0, 8.0):
            machine.take(ChildInput.EXITED, now)
            deadline = machine.next_deadline()
            assert deadline is not None
            self.assertTrue(longest / 2 <= deadline - now <= longest, (longest, deadline - now))
            now = deadline
            machine.take(ChildInput.DUE, now)

    def test_death_after_a_long_life(self) -> None:
        """A child that had run steadily is started again soon, whatever happened before."""
        machine = machine_in(ChildState.RUNNING)
        machine.quick_deaths = 5

        machine.take(ChildInput.EXITED, 30.0)

        deadline = machine.next_deadline()
        assert deadline is not None
        self.assertTrue(30.0 < deadline <= 31.0, deadline)

    def test_stopped_while_it_waits(self) -> None:
        """A child that waits for its next start and is stopped stays gone."""
        machine = machine_in(ChildState.RUNNING)
        machine.take(ChildInput.EXITED, 1.0)

        self.assertIsNone(machine.take(ChildInput.STOP, 1.1))
        self.assertEqual((ChildState.ENDED, None), (machine.state, machine.next_deadline()))

    def test_ten_thousand_deaths(self) -> None:
        """The pause stays at its cap however often a child dies."""
        machine = machine_in(ChildState.RUNNING)
        machine.quick_deaths = 10_000

        machine.take(ChildInput.EXITED, 0.0)

        deadline = machine.next_deadline()
        assert deadline is not None
        self.assertTrue(deadline <= 8.0)


def test_documented_machine() -> None:
    """The table in docs/operations.md is the machine's own."""
    rows = [
        f"| {before.value} | {happened.value} | {after.value} |"
        for (before, happened), after in TRANSITIONS.items()
    ]

    text = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    shown = text.partition("<!-- machine of agent/supervision/child.py -->")[2].partition("<!-- end -->")[0]

    assert shown.strip().splitlines()[2:] == rows
