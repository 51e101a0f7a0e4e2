"""An agent as the exchange protocol describes it, small enough to be seen through: the other side in simulations."""

from collections.abc import Callable
from typing import Any

from fieldpost.wire.digest import types_digest
from fieldpost.wire.payload import ServerPayload
from fieldpost.wire.sequence import Verdict, judge_answer
from tests.server.wired import client_payload, register_message

Carry = Callable[[dict[str, Any], bytes | None, bytes | None], ServerPayload | None]
"""Carries a payload with secure id and token; None when no answer comes back."""


class ModelAgent:
    """
    Keeps its messages until they are acknowledged, and one generation longer; everything it does is durable.

    `done` are the operations that it carried out, in order.
    """

    def __init__(self, registration_id: str) -> None:
        self.registration_id = registration_id
        self.secure_id: bytes | None = None
        self.token: bytes | None = None
        self.accepted: frozenset[str] = frozenset()
        self.sequence = 0
        self.server_sequence = 0
        self.kept: list[dict[str, Any]] = []
        self.pending: list[dict[str, Any]] = []
        self.numbered = 0
        self.done: list[int] = []
        self.resynchronized = 0

    def put(self, message: dict[str, Any]) -> None:
        self.pending.append(message)

    def exchange(self, carry: Carry, most: int = 3) -> bool:
        """One exchange; whether an answer came."""
        self._ask_to_register()
        sent = self._choose(most)
        token, self.token = self.token, None
        payload = client_payload(
            sequence=self.sequence,
            next_expected_sequence=self.server_sequence,
            accepted_types=types_digest(self.accepted),
            messages=sent,
        )
        answer = carry(payload, self.secure_id, token)
        if answer is None:
            return False
        self._settle(answer, len(sent))
        self.token = answer.next_exchange_token
        for message in answer.messages:
            self._take(message)
        self.server_sequence += len(answer.messages)
        return True

    def _ask_to_register(self) -> None:
        asked = any(message["type"] == "register" for message in self.pending)
        if self.secure_id is None and "register" in self.accepted and not asked:
            self.pending.append(register_message(self.registration_id))

    def _choose(self, most: int) -> list[dict[str, Any]]:
        """Numbered messages go again; then those of accepted types get the next numbers, in order."""
        again, rest = self.pending[: self.numbered], self.pending[self.numbered :]
        room = max(0, most - len(again))
        new = [message for message in rest if message["type"] in self.accepted][:room]
        self.pending = again + new + [message for message in rest if not any(message is n for n in new)]
        self.numbered = len(again) + len(new)
        return self.pending[: self.numbered]

    def _settle(self, answer: ServerPayload, sent: int) -> None:
        expected = answer.next_expected_sequence
        assert expected is not None
        verdict = judge_answer(sequence=self.sequence, kept=len(self.kept), sent=sent, expected=expected)
        if verdict is Verdict.ACKNOWLEDGED:
            count = expected - self.sequence
            self.kept, self.pending = self.pending[:count], self.pending[count:]
            self.numbered -= count
        elif verdict is Verdict.RESEND:
            count = self.sequence - expected
            again = self.kept[len(self.kept) - count :]
            self.kept, self.pending = self.kept[: len(self.kept) - count], again + self.pending
            self.numbered += count
        else:
            held = self.kept if verdict is Verdict.ANCIENT else []
            self.kept, self.pending, self.numbered = [], held + self.pending, 0
            self.resynchronized += 1
        self.sequence = expected

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "accepted-types":
            self.accepted = frozenset(message["types"])
        elif kind == "set-id":
            self.secure_id = message["id"]
        elif kind == "unknown-id":
            self.secure_id = None
            # A clone is a machine of its own.
            self.registration_id += "+" * ("clone-of" in message)
        elif "operation-id" in message:
            self.done.append(message["operation-id"])
            self.put({"type": "operation-result", "operation-id": message["operation-id"], "status": 6})
