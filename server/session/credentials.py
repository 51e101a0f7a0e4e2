"""
Who asks for a session: a computer that shows what only it can show.

An agent's id is `a:` and its computer's public number; it proves that it has the computer's secure id by an HMAC, never by
saying it (wire 5.4). Where TLS begins inside, the proof holds for that channel alone. A certificate that the agent shows
besides, in TLS outside or inside, is bound to the computer the first time: from then on that key and no other belongs to it, and
an id that is the name of the key needs no further proof. So a key belongs to one computer at most; only what is no computer of
this server any more loses its key to the next.
"""

from collections.abc import Callable
from functools import partial
from sqlite3 import Connection

from attrs import frozen

from ...wire.session.decision import IDENTITY, PROOF
from ...wire.session.hello import Hello
from ...wire.session.identity import AGENT, Evidence
from ..commits import Commits
from ..computers import Computer, Status, find_computer_txn
from ..errors import ServerError
from .records import bind_key_txn, find_by_key_txn, find_record_txn, release_key_txn

_MOST_DIGITS = 18


class Denied(ServerError):
    """This is not who it says; `code` is the refusal's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@frozen(kw_only=True)
class Credentials:
    """What a newcomer shows. `is_proved_by` tells whether its proof was made with a secret."""

    hello: Hello
    evidence: Evidence
    is_proved_by: Callable[[bytes], bool]


async def recognise(commits: Commits, shown: Credentials) -> Computer:
    """
    The computer that shows these.

    Raises Denied, DatabaseError, Stopping.
    """
    id, key = shown.hello.id or "", shown.evidence.key
    if not id.startswith(AGENT):
        raise Denied(IDENTITY, "only agents open sessions here: an id begins with `a:`")
    computer, bound = await commits.run(partial(_find_txn, name=id.removeprefix(AGENT)))
    if computer is None or computer.status is not Status.APPROVED:
        raise Denied(
            IDENTITY, f"{id} is no computer of this server; exchange by POST to hear more, or register"
        )
    if not shown.evidence.proves(id) and not shown.is_proved_by(computer.secure_id):
        raise Denied(PROOF, f"the proof does not show that this is {id}")
    if bound is None and key is not None:
        bound, owner = await commits.run(partial(_bind_txn, computer=computer.id, key=key))
        if owner is not None:
            text = f"the key that {id} shows belongs to computer {owner}: give this machine a certificate of its own; or {_release(owner)}"
            raise Denied(IDENTITY, text)
    if bound is not None and key != bound:
        text = f"{id} belongs to another key than the one shown; {_release(computer.id)}, or show that one"
        raise Denied(IDENTITY, text)
    return computer


def _release(computer: int) -> str:
    return f"the operator can release it (DELETE /api/v1/computers/{computer}/key)"


def _bind_txn(txn: Connection, *, computer: int, key: str) -> tuple[str | None, int | None]:
    """
    Let the key be this computer's, unless it has one meanwhile, or the key belongs to another computer.

    The computer's key, and whose the shown one is when it cannot be this one's.
    """
    bound = find_record_txn(txn, computer).key_name
    if bound is not None:
        return bound, None
    owner = find_by_key_txn(txn, key)
    found = None if owner is None else find_computer_txn(txn, owner)
    if found is not None and found.status is Status.APPROVED:
        return None, found.id
    if found is not None:
        release_key_txn(txn, found.id)
    bind_key_txn(txn, computer, key)
    return key, None


def _find_txn(txn: Connection, *, name: str) -> tuple[Computer | None, str | None]:
    """The computer of an id, by its number or by its key, and the key that is bound to it."""
    if name.isascii() and name.isdigit() and len(name) <= _MOST_DIGITS:
        number: int | None = int(name)
    else:
        number = find_by_key_txn(txn, name)
    if number is None:
        return None, None
    return find_computer_txn(txn, number), find_record_txn(txn, number).key_name
