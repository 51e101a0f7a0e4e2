"""Who may register, and which messages are wanted: the operator's decisions, as values."""

from collections.abc import Iterable, Mapping
from hmac import compare_digest

from attrs import field, frozen

from ..wire.digest import types_digest
from ..wire.message import OPERATION_RESULT, RECEIPT, REGISTER, RESYNCHRONIZE

CORE_TYPES = (OPERATION_RESULT, RECEIPT, REGISTER, RESYNCHRONIZE)
"""What every agent sends by itself; always accepted."""
BUNDLED_TYPES = (
    "computer-info",
    "cpu-usage",
    "free-space",
    "memory-info",
    "mount-info",
    "network-activity",
)
"""What the bundled monitors send."""


@frozen(kw_only=True)
class Account:
    """
    A door for new computers.

    Whoever knows the key may register; without a key anybody may, but then each computer waits for approval.
    """

    name: str
    registration_key: str | None = field(default=None, repr=False)
    auto_accept: bool = False
    max_pending: int = 1_000

    def admits(self, key: str | None) -> bool:
        """Whether this is the account's key."""
        if self.registration_key is None:
            return True
        return key is not None and compare_digest(key.encode(), self.registration_key.encode())


def _sorted_set(types: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(types)))


@frozen
class AcceptedTypes:
    """A set of message types, sorted, with the digest that both sides compare."""

    types: tuple[str, ...] = field(converter=_sorted_set)
    digest: bytes = field(init=False, repr=False)

    @digest.default
    def _digest(self) -> bytes:
        return types_digest(self.types)


BEFORE_APPROVAL = AcceptedTypes((REGISTER,))
"""What is accepted from a computer that we do not know, or not yet."""


@frozen(kw_only=True)
class Policy:
    """All of it."""

    accounts: Mapping[str, Account]
    accepted: AcceptedTypes = AcceptedTypes(CORE_TYPES + BUNDLED_TYPES)
