"""What a demo has seen, and whether it is enough."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from fieldpost.agent.demo.sight import TOO_MANY_DEATHS, Sight, TypeFigures
from fieldpost.agent.supervision.child import ChildState
from fieldpost.agent.supervision.processes import Exit
from fieldpost.agent.supervision.supervisor import ChildStatus


def message(kind: str, received: float = 10.0, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "received": received, "body": fields}


def operation(status: str, text: str | None = None) -> dict[str, Any]:
    return {"id": 1, "type": "execute-script", "status": status, "result-text": text}


def child(
    name: str = "broker", *, quick_deaths: int = 0, state: ChildState = ChildState.RUNNING
) -> ChildStatus:
    return ChildStatus(
        name=name,
        state=state,
        pid=1,
        starts=1,
        quick_deaths=quick_deaths,
        last_exit=Exit(code=3),
        last_lines=("first", "no room"),
    )


class SightTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sight = Sight(expected=("cpu", "load"))

    def see_all(self) -> None:
        self.sight.note_messages([message("cpu", x=1), message("load")])
        self.sight.status = {
            "types": {kind: {"stored": 1, "sent": 1, "first-stored": 9.5} for kind in ("cpu", "load")}
        }
        self.sight.operation = operation("succeeded", "Linux")

    def test_nothing_yet(self) -> None:
        """The expected types are shown from the beginning."""
        self.assertEqual({"cpu": TypeFigures(), "load": TypeFigures()}, self.sight.types)
        self.assertEqual(("cpu", "load"), self.sight.missing)

    def test_complete(self) -> None:
        """All types, their times, and the operation's result make it complete."""
        self.see_all()

        self.assertTrue(self.sight.is_complete)
        self.assertEqual(
            TypeFigures(stored=1, sent=1, received=1, latency=0.5, last="x: 1"), self.sight.types["cpu"]
        )

    def test_incomplete(self) -> None:
        """Nothing of it may lack."""
        for attribute, value in {
            "status": None,
            "operation": operation("delivered"),
            "expected": ("cpu", "load", "disk"),
        }.items():
            with self.subTest(lacks=attribute):
                self.see_all()
                setattr(self.sight, attribute, value)
                self.assertFalse(self.sight.is_complete)

    def test_figures_of_different_moments(self) -> None:
        """What arrived was stored and sent, even if the broker's figures are older."""
        self.see_all()
        self.sight.note_messages([message("cpu", received=20.0)])

        figures = self.sight.types["cpu"]

        self.assertEqual((2, 2, 2), (figures.stored, figures.sent, figures.received))
        self.assertEqual(0.5, figures.latency)

    def test_other_types(self) -> None:
        """What nobody expected is shown below."""
        self.sight.note_messages([message("zebra"), message("ant")])

        self.assertEqual(["cpu", "load", "ant", "zebra"], list(self.sight.types))

    def test_computer(self) -> None:
        """Only a computer that is approved is ours, and it says what it handles."""
        waiting = {"id": 1, "status": "pending", "handles": None}
        approved = {"id": 2, "status": "approved", "handles": ["execute-script"]}

        self.sight.note_computers([waiting])
        self.assertIsNone(self.sight.computer)
        self.sight.note_computers([waiting, approved])

        self.assertEqual(2, self.sight.computer)
        self.assertTrue(self.sight.handles("execute-script", [waiting, approved]))
        self.assertFalse(self.sight.handles("reboot", [waiting, approved]))

    def test_reason(self) -> None:
        """What lacks is named, with the troubles that may be its cause."""
        self.sight.note_messages([message("cpu")])
        self.sight.server_trouble = "the server does not answer"
        self.sight.children = (child(state=ChildState.WAITING),)

        self.assertEqual(
            "no message of load reached the server; the computer is not registered; the server does not answer; "
            "broker ended by itself (exit code 3); it said: no room",
            self.sight.reason(),
        )

    def test_reason_of_an_operation(self) -> None:
        """An operation that is not answered is named with how far it came."""
        self.see_all()
        self.sight.operation = operation("delivered")
        self.assertEqual("the operation is delivered", self.sight.reason())

        self.sight.operation, self.sight.computer = None, 1
        self.assertEqual("no operation could be sent", self.sight.reason())

    def test_hopeless(self) -> None:
        """A child that dies again and again, or an operation that failed, ends the waiting."""
        self.sight.children = (child(quick_deaths=TOO_MANY_DEATHS - 1),)
        self.assertIsNone(self.sight.hopeless())

        self.sight.children = (child(quick_deaths=TOO_MANY_DEATHS),)
        self.assertEqual("broker ended by itself (exit code 3); it said: no room", self.sight.hopeless())

        self.sight.children = ()
        self.sight.operation = operation("failed", "no such user")
        self.assertEqual("the operation failed: no such user", self.sight.hopeless())
