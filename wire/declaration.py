"""
What messages look like: a declaration per type, from which all else about it follows.

From a declaration come the check at the broker's door, what is sent at which API level, where texts are cut, the columns that the
server keeps, and docs/messages.md. A type that is not declared is carried as it is: nobody needs our leave to send one.
Plugins declare theirs in their manifest, the server in its configuration (`from_table`).

`fit` asks whether a message is what its declaration says, of whatever level, and leaves alone what the declaration does not name: a
newer plugin may say more than an older broker knows. `coerce` writes it for a Landscape server of one level, as Landscape's
client would: with the fields of that level and no others, rows as tuples (landscape 1.3, `kinds`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen

from .api import NEWEST_SERVER_API, OLDEST_SERVER_API, ApiLevel
from .errors import Malformed
from .kinds import Kind
from .message import Message

ENVELOPE = ("type", "api", "timestamp")
"""What every message has; declarations do not name it."""


@frozen(kw_only=True)
class Field:
    """One field of a type."""

    name: str
    kind: Kind
    about: str = ""
    required: bool = True
    nullable: bool = False
    since: ApiLevel = OLDEST_SERVER_API
    """First level that has it."""
    until: ApiLevel = NEWEST_SERVER_API
    """Last level that has it."""
    most: int | None = None
    """Characters; longer text is cut."""
    own: bool = False
    """Whether it is Fieldpost's own: no Landscape server knows it, so none is sent it."""

    def fit(self, value: Any) -> Any:
        """
        What is stored or sent of a value; the same object when it is right as it is.

        Raises Malformed.
        """
        if value is None and self.nullable:
            return None
        fitted = self.kind.fit(value)
        return fitted if self.most is None or len(fitted) <= self.most else fitted[: self.most]

    def write(self, value: Any) -> Any:
        """A value that fits, as Landscape's client would send it."""
        return None if value is None and self.nullable else self.kind.write(value)


@frozen(kw_only=True)
class Declaration:
    """One type of message."""

    type: str
    about: str = ""
    fields: tuple[Field, ...] = ()
    _newest: tuple[Field, ...] = field(init=False, repr=False, eq=False)

    @_newest.default
    def _keep_newest(self) -> tuple[Field, ...]:
        return self.fields_at(NEWEST_SERVER_API)

    def fields_at(self, api: ApiLevel) -> tuple[Field, ...]:
        """The fields of one level."""
        found = tuple(item for item in self.fields if item.since <= api <= item.until)
        return self.fields if found == self.fields else found

    def fit(self, message: Message, *, complete: bool = True) -> Message:
        """
        The message with its fields as declared and all others as they are; the same object when nothing had to change.

        Without `complete` any field may be missing. Raises Malformed, naming the field.
        """
        changed: Message = {}
        for item in self._newest:
            if item.name in message:
                value = message[item.name]
                fitted = _fitted(item, value)
                if fitted is not value:
                    changed[item.name] = fitted
            elif item.required and complete:
                raise Malformed(f"`{self.type}` needs a field `{item.name}` ({item.kind.word})")
        return {**message, **changed} if changed else message

    def coerce(self, message: Message, api: ApiLevel) -> Message:
        """
        The message as a Landscape server of this level knows it: nothing in it that the level does not have.

        Raises Malformed, naming the field.
        """
        found = {name: message[name] for name in ENVELOPE if name in message}
        for item in self.fields_at(api):
            if item.own:
                continue
            if item.name in message:
                found[item.name] = item.write(_fitted(item, message[item.name]))
            elif item.required:
                raise Malformed(f"`{self.type}` needs a field `{item.name}` ({item.kind.word})")
        return found


def _fitted(item: Field, value: Any) -> Any:
    try:
        return item.fit(value)
    except Malformed as error:
        text = str(error)
        raise Malformed(f"`{item.name}`{'' if text.startswith('[') else ' '}{text}") from None


@frozen(eq=False, repr=False)
class Catalogue:
    """Declarations by type."""

    declarations: Mapping[str, Declaration]

    @classmethod
    def of(cls, declarations: Iterable[Declaration]) -> "Catalogue":
        """
        These; each type once, whatever its spelling: a database could not tell the two apart.

        Raises Malformed for a type that is declared twice.
        """
        found: dict[str, Declaration] = {}
        spellings: set[str] = set()
        for one in declarations:
            if one.type.casefold() in spellings:
                raise Malformed(f"`{one.type}` is declared already; call yours otherwise")
            spellings.add(one.type.casefold())
            found[one.type] = one
        return cls(found)

    def with_more(self, declarations: Iterable[Declaration]) -> "Catalogue":
        """
        These and more.

        Raises Malformed for a type that is declared twice.
        """
        return Catalogue.of((*self.declarations.values(), *declarations))

    def fit(self, message: Message, *, complete: bool = True) -> Message:
        """See Declaration; a type that is not declared fits as it is."""
        declaration = self.declarations.get(message["type"])
        return message if declaration is None else declaration.fit(message, complete=complete)

    def coerce(self, message: Message, api: ApiLevel) -> Message:
        """See Declaration; a type that is not declared stays as it is."""
        declaration = self.declarations.get(message["type"])
        return message if declaration is None else declaration.coerce(message, api)
