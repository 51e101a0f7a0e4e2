"""
How this machine becomes known to the server (landscape 1.7).

Without an identity, each exchange carries a `register` message, as soon as the server says that it takes them, and until
`set-id` comes in an answer: at once, or days later when an operator has approved. The registration id in it is the same
each time, so that the server never makes two computers of one. What plugins have sent meanwhile waits in the store; it is
never touched (fault L14).
"""

from collections.abc import Callable

from attrs import frozen
from twisted.logger import Logger

from ..runtime.writer import Writer
from ..wire.local import ACCEPTANCE_CHANGED, PRE_EXCHANGE
from ..wire.message import REGISTER, Message
from .bus import Bus, Details
from .schedule import Urgency
from .store.records import State
from .store.store import Store


@frozen(kw_only=True)
class Account:
    """Where this machine wants to belong, and what it calls itself."""

    account_name: str
    computer_title: str
    hostname: str
    registration_password: str | None = None
    tags: str | None = None
    access_group: str | None = None
    """This and the next are for Landscape's servers alone."""
    container_info: str = ""
    """The kind of container that this machine is; empty for none."""


@frozen(kw_only=True)
class Standing:
    """Whether this machine is registered; if not, why, and what to do about it."""

    is_registered: bool
    insecure_id: int | None = None
    cause: str | None = None
    next_step: str | None = None


_NEXT_STEPS = {
    "unknown-account": "check account-name and registration-key in the [server] section of the configuration",
    "max-pending-computers": "ask the server's operator to accept or reject computers that wait for approval",
}


class Registration:
    """Queues `register` before an exchange where one is due, and knows how that stands."""

    log = Logger()

    def __init__(
        self,
        *,
        account: Account | None,
        store: Store,
        writer: Writer,
        bus: Bus,
        ask: Callable[[Urgency], None],
    ) -> None:
        self._account = account
        self._store = store
        self._writer = writer
        self._ask = ask
        self._denial: str | None = None
        self._clone_of: str | None = None
        bus.listen(PRE_EXCHANGE, self._before_exchange)
        bus.listen(ACCEPTANCE_CHANGED, self._acceptance_changed)

    def succeeded(self) -> None:
        """The server gave us an identity."""
        self._denial = self._clone_of = None

    def denied(self, info: str) -> str:
        """The server does not want us, for this reason; the next step for a person."""
        self._denial = info
        return _NEXT_STEPS.get(info, "ask the server's operator")

    def became_clone(self, title: str) -> None:
        """The server took us for a clone of the computer of this title."""
        self._clone_of = title

    def standing(self, state: State) -> Standing:
        """How it stands, for people."""
        if state.secure_id is not None:
            return Standing(is_registered=True, insecure_id=state.insecure_id)
        cause, next_step = self._why_not(state)
        if self._clone_of is not None:
            cause = f"the server took this machine for a clone of {self._clone_of!r}; {cause}"
        return Standing(is_registered=False, cause=cause, next_step=next_step)

    def _why_not(self, state: State) -> tuple[str, str]:
        if self._account is None:
            return "no account is configured", "set account-name in the [server] section of the configuration"
        if self._denial is not None:
            return f"the server refused: {self._denial}", _NEXT_STEPS.get(
                self._denial, "ask the server's operator"
            )
        if REGISTER not in state.accepted_types:
            return "the server has not asked us to register yet", "wait for the next exchange"
        return "the server has not answered our registration yet", "approve this computer on the server"

    async def _before_exchange(self, _: Details) -> None:
        state = await self._writer.run(self._store.state)
        if self._account is None or not _is_wanted(state):
            return
        if not await self._writer.run(self._store.has_queued, REGISTER):
            await self._writer.run(self._store.put, _register(self._account, state))

    async def _acceptance_changed(self, details: Details) -> None:
        if (details["type"], details["accepted"]) != (REGISTER, True) or self._account is None:
            return
        if _is_wanted(await self._writer.run(self._store.state)):
            self._ask(Urgency.AT_ONCE)


def _is_wanted(state: State) -> bool:
    return state.secure_id is None and REGISTER in state.accepted_types


def _register(account: Account, state: State) -> Message:
    message: Message = {
        "type": REGISTER,
        "account_name": account.account_name,
        "computer_title": account.computer_title,
        "hostname": account.hostname,
        "registration_password": account.registration_password,
        "tags": account.tags,
        **(_landscape_fields(account) if state.is_landscape else {"registration-id": state.registration_id}),
    }
    if state.clone_secure_id is not None:
        message["clone_secure_id"] = state.clone_secure_id.decode("ascii", "replace")
    return message


def _landscape_fields(account: Account) -> Message:
    """What its client tells of the machine (landscape 1.5); fields of newer levels are left out where they are not known."""
    found: Message = {
        "container-info": account.container_info,
        "vm-info": b"",
        "ubuntu_pro_info": "{}",
    }
    return found if account.access_group is None else {**found, "access_group": account.access_group}
