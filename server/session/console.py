"""
What the API offers of the sessions: ask a computer now, see what an operation writes, publish, release a key
(docs/server.md).
"""

from collections.abc import Callable, Mapping
from functools import partial
from sqlite3 import Connection
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ...runtime.session.errors import CallCancelled, CommandFailed, SessionLost, TooManyCalls
from ...wire.errors import LocalProtocolError, Malformed
from ..api import ROOT, find_operation, known_computer_txn, number_of
from ..call import Answer, Call, json_answer
from ..commits import Commits
from ..errors import Refused
from ..front import Route
from ..json_form import from_json, to_json
from ..queries import json_body, number, parameters
from .bulletin import Bulletin
from .kept import KeptText
from .output import TAIL, Callee, Outputs
from .records import release_key_txn
from .registry import EXCHANGE_NOW, Registry

T = TypeVar("T")
PING_PLUGIN = "ping-plugin"
MEMBERS: Mapping[str, tuple[str, ...]] = {
    EXCHANGE_NOW: (),
    PING_PLUGIN: ("plugin",),
    TAIL: ("operation", "log"),
}
"""What goes with each command that a computer answers."""
DEFAULT_TIMEOUT = 10
MOST_SECONDS = 50
"""In all, with waiting: proxies cut a request that is not answered for a minute."""
MOST_OUTPUT = 1024 * 1024
_OVER = ("succeeded", "failed")


class Console:
    """Answers the API's calls that are about sessions."""

    log = Logger()

    def __init__(
        self,
        *,
        commits: Commits,
        registry: Registry,
        outputs: Outputs,
        bulletin: Bulletin,
        clock: IReactorTime,
    ) -> None:
        self._commits = commits
        self._registry = registry
        self._outputs = outputs
        self._bulletin = bulletin
        self._clock = clock

    def routes(self, guard: Callable[[Call], None]) -> list[Route]:
        """All that is answered here, behind the guard."""
        return [
            Route("POST", f"{ROOT}/computers/*/ask", self._ask, guard),
            Route("GET", f"{ROOT}/operations/*/output", self._show_output, guard),
            Route("POST", f"{ROOT}/topics/*", self._publish, guard),
            Route("DELETE", f"{ROOT}/computers/*/key", self._release_key, guard),
        ]

    async def _ask(self, call: Call, number_text: str) -> Answer:
        parameters(call, {})
        computer_id = number_of(number_text, "computer")
        numbers = dict.fromkeys(("operation", "log", "timeout", "wait"), int)
        body = json_body(call, {"command": str, "plugin": str, **numbers})
        asked = _asked_by(body)
        await self._commits.run(partial(known_computer_txn, computer_id=computer_id))
        callee = await _unless_gone(call, self._registry.wait_for(computer_id, asked.wait))
        if callee is None:
            raise _not_connected(computer_id, asked.wait)
        told = KeptText(MOST_OUTPUT)
        values = await self._answered(call, callee, asked, told)
        self.log.info("computer {computer}: {command}", computer=computer_id, command=asked.command)
        return json_answer({"values": [to_json(_readable(value)) for value in values], "output": told.text})

    def _callee(self, computer_id: int) -> Callee | None:
        entry = self._registry.find(computer_id)
        return None if entry is None else entry.line

    async def _answered(self, call: Call, callee: Callee, asked: "_Asked", told: KeptText) -> list[Any]:
        asking = callee.call(asked.command, asked.args, on_output=told.add)
        timer = self._clock.callLater(asked.timeout, asking.cancel)
        try:
            values = await _unless_gone(call, asking)
            return list(values)
        except CallCancelled:
            if asked.command == TAIL:
                return []
            cause = f"the computer has not answered {asked.command} within {asked.timeout} seconds"
            raise Refused(504, cause, "try again, with a longer `timeout`") from None
        except SessionLost as lost:
            raise Refused(504, f"the session ended before the answer: {lost}", "try again soon") from None
        except CommandFailed as failed:
            raise Refused(502, f"{failed}"[:1_000], "see what the computer's log says of it") from None
        except TooManyCalls as many:
            raise Refused(503, f"the computer is being asked enough: {many}", "try again soon") from None
        except LocalProtocolError as error:
            raise Malformed(f"no computer could read this: {error}") from None
        finally:
            if timer.active():
                timer.cancel()

    async def _show_output(self, call: Call, number_text: str) -> Answer:
        asked = {
            "after": 0,
            "wait": 0,
            **parameters(call, {"after": number(), "wait": number(0, MOST_SECONDS)}),
        }
        operation = await find_operation(self._commits, number_of(number_text, "operation"))
        is_over = operation.status in _OVER

        def find() -> Callee | None:
            return None if is_over else self._callee(operation.computer)

        looking = self._outputs.look(operation.id, after=asked["after"], wait=asked["wait"], find=find)
        look = await _unless_gone(call, Deferred.fromCoroutine(looking))
        trouble = look.trouble
        if not look.is_live and not is_over and self._callee(operation.computer) is None:
            trouble = "the computer has no session now"
        return json_answer(
            {
                "output": look.text,
                "next": look.next,
                "missed": look.missed,
                "progress": look.progress,
                "live": look.is_live,
                "trouble": trouble,
                "status": operation.status,
            }
        )

    async def _publish(self, call: Call, topic: str) -> Answer:
        parameters(call, {})
        body = json_body(call, {"value": object, "computer": int})
        if "value" not in body:
            raise Malformed("`value` is missing")
        computer_id = body.get("computer")
        if computer_id is not None:
            await self._commits.run(partial(known_computer_txn, computer_id=computer_id))
        seq = self._bulletin.publish(topic, from_json(body["value"]), computer_id)
        return json_answer({"topic": topic, "seq": seq})

    async def _release_key(self, call: Call, number_text: str) -> Answer:
        parameters(call, {})
        computer_id = number_of(number_text, "computer")
        key = await self._commits.run(partial(_release_txn, computer_id=computer_id))
        if key is not None:
            self.log.info("computer {computer} is released from its key {key}", computer=computer_id, key=key)
        return json_answer({"released": key})


def _release_txn(txn: Connection, *, computer_id: int) -> str | None:
    return release_key_txn(txn, known_computer_txn(txn, computer_id=computer_id).id)


@frozen(kw_only=True)
class _Asked:
    """What a body asks. Any: whatever travels."""

    command: str
    args: dict[str, Any]
    wait: int
    timeout: int


def _asked_by(body: dict[str, Any]) -> _Asked:
    """Raises Malformed."""
    wait, timeout = body.pop("wait", 0), body.pop("timeout", DEFAULT_TIMEOUT)
    command = _command_of(body)
    if not 1 <= timeout <= MOST_SECONDS:
        raise Malformed(f"`timeout` must be from 1 to {MOST_SECONDS} seconds")
    if not 0 <= wait <= MOST_SECONDS - timeout:
        text = f"`wait` must be at least 0, and with `timeout` ({timeout}) at most {MOST_SECONDS} seconds"
        raise Malformed(text)
    args = {name: value for name, value in body.items() if name != "command"}
    return _Asked(command=command, args=args, wait=wait, timeout=timeout)


def _unless_gone(call: Call, doing: "Deferred[T]") -> "Deferred[T]":
    """The same, which is taken back when the client hangs up."""
    call.gone.when().addCallback(lambda _: doing.cancel())
    return doing


def _readable(value: Any) -> Any:
    """Octets that are text become text: names travel as octets in a session. Any: whatever travels."""
    if isinstance(value, dict):
        return {_readable(key): _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if not isinstance(value, bytes):
        return value
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value
    return text if text.isprintable() else value


def _command_of(body: dict[str, Any]) -> str:
    command = str(body.get("command"))
    if command not in MEMBERS:
        raise Malformed(f"`command` must be one of {', '.join(MEMBERS)}")
    for name in body:
        if name not in ("command", *MEMBERS[command]):
            raise Malformed(f"`{name}` does not go with the command {command}")
    given = [name for name in MEMBERS[command] if name in body]
    if MEMBERS[command] and len(given) != 1:
        raise Malformed(f"{command} needs {' or '.join(f'`{name}`' for name in MEMBERS[command])}")
    return command


def _not_connected(computer_id: int, waited: int) -> Refused:
    when = f"had no session within {waited} seconds" if waited else "has no session now"
    next_step = (
        f"queue an operation for it instead (POST {ROOT}/operations), or `wait` longer for its session"
    )
    return Refused(409, f"computer {computer_id} {when}", next_step)
