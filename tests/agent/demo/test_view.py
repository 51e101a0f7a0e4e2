"""How a demo is shown."""

from io import StringIO
from typing import Any

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.agent.demo.sight import Sight
from fieldpost.agent.demo.view import LineView, LiveView, NoView, carrier_lines
from fieldpost.agent.supervision.child import ChildState
from fieldpost.agent.supervision.processes import Exit
from fieldpost.agent.supervision.supervisor import ChildStatus


def child(state: ChildState, starts: int) -> ChildStatus:
    return ChildStatus(
        name="broker",
        state=state,
        pid=7 if state is ChildState.RUNNING else None,
        starts=starts,
        quick_deaths=0,
        last_exit=Exit(code=1),
        last_lines=(),
    )


def operation(status: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "type": "execute-script",
        "status": status,
        "created": 5.0,
        "finished": None,
        "result-text": None,
        **fields,
    }


def busy_sight() -> Sight:
    sight = Sight(expected=("cpu",))
    sight.children = (child(ChildState.RUNNING, 1),)
    sight.computer = 4
    sight.status = {
        "types": {"cpu": {"stored": 3, "sent": 2, "first-stored": 9.5}},
        "store": {"pending": 1, "held": 0, "octets": 300},
    }
    sight.note_messages([{"type": "cpu", "received": 10.0, "body": {"busy": 5}}])
    sight.operation = operation("succeeded", finished=6.5, **{"result-text": "Linux\n"})
    return sight


def carried(**session: Any) -> list[str]:
    sight = busy_sight()
    sight.status = {**(sight.status or {}), "session": {"failures": 0, "cause": None, **session}}
    return list(carrier_lines(sight))


def test_session_is_told() -> None:
    """Over which carrier exchanges travel, and why not over a session."""
    live = carried(carrier="session", state="open")
    fallen = carried(carrier="POST", state="by POST", cause="a proxy does not upgrade")
    failed = carried(carrier="POST", state="waiting", cause="refused", failures=1)

    assert live == ["session: open; exchanges and operations travel over it"]
    assert fallen == ["session: none, exchanges go by POST: a proxy does not upgrade"]
    assert failed == ["session: none, exchanges go by POST: refused"]


def test_session_that_is_opened_anew_is_no_news() -> None:
    """Between the session without a name and that of the registered machine there is none for a moment."""
    assert carried(carrier="POST", state="waiting", cause="this side ended it: identity") == []


class LineViewTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.stream = StringIO()
        self.view = LineView(self.stream)
        self.view.start()

    def test_lines(self) -> None:
        """What happens is told once, a line each."""
        self.view.show(busy_sight())
        self.view.show(busy_sight())
        self.view.stop()

        self.assertEqual(
            [
                "broker runs as process 7",
                "registered: the server knows this machine as computer 4",
                "cpu arrived after 0.50 s: busy: 5",
                "operation 1, execute-script: succeeded after 1.50 s: Linux",
            ],
            self.stream.getvalue().splitlines(),
        )

    def test_death(self) -> None:
        """A child that ends by itself, and one that is back, are told each time."""
        sight = Sight(expected=())
        for status in (
            child(ChildState.RUNNING, 1),
            child(ChildState.WAITING, 1),
            child(ChildState.RUNNING, 2),
        ):
            sight.children = (status,)
            self.view.show(sight)

        self.assertEqual(
            ["broker runs as process 7", "broker ended by itself: exit code 1", "broker runs as process 7"],
            self.stream.getvalue().splitlines(),
        )


class LiveViewTests(SynchronousTestCase):
    def drawn(self, sight: Sight, width: int = 120) -> str:
        console = Console(file=StringIO(), width=width, force_terminal=False)
        view = LiveView(console, "Demo")
        view.start()
        view.show(sight)
        view.stop()
        assert isinstance(console.file, StringIO)
        return console.file.getvalue()

    def test_picture(self) -> None:
        """The table has a row per type; below are the processes, the broker and the operation."""
        picture = self.drawn(busy_sight())

        row = next(line for line in picture.splitlines() if " cpu " in line)
        self.assertEqual(
            ["cpu", "3", "2", "1", "0.50 s", "busy: 5"], [cell.strip() for cell in row.split("│")[1:-1]]
        )
        self.assertIn("processes: broker 7", picture)
        self.assertIn("broker: computer 4, 1 pending, 0 held, 300 B stored", picture)
        self.assertIn("succeeded after 1.50 s: Linux", picture)

    def test_nothing_yet(self) -> None:
        """It can be drawn before anything has happened."""
        self.assertIn("cpu", self.drawn(Sight(expected=("cpu",))))

    def test_trouble(self) -> None:
        """What is wrong now is shown, brackets and all."""
        sight = busy_sight()
        sight.broker_trouble = "no broker answers at [x]"

        self.assertIn("no broker answers at [x]", self.drawn(sight))

    def test_narrow(self) -> None:
        """A narrow terminal does not break it."""
        self.assertIn("cpu", self.drawn(busy_sight(), width=40))


class NoViewTests(SynchronousTestCase):
    def test_silence(self) -> None:
        """It takes what the others take."""
        view = NoView()
        view.start()
        view.show(busy_sight())
        view.stop()
