"""The forms in which the tables of declarations are written."""

from ..api import NEWEST_SERVER_API
from ..declaration import Field
from ..kinds import INTEGER, NULL, NUMBER, TEXT, Kind, either, list_of, rows_of

MAX_RESULT_TEXT = 100_000
"""Characters of a result's text, and of an error's; what is longer is cut (landscape 1.5)."""

TEXTS = list_of(TEXT)
TEXT_OR_NULL = either(TEXT, NULL)
POINTS = rows_of(time=INTEGER, value=NUMBER)


def needs(
    name: str, kind: Kind, about: str = "", *, nullable: bool = False, most: int | None = None
) -> Field:
    """A field that is always there."""
    return Field(name=name, kind=kind, about=about, nullable=nullable, most=most)


def may_have(
    name: str, kind: Kind, about: str = "", *, nullable: bool = False, most: int | None = None
) -> Field:
    """A field that may be missing."""
    return Field(name=name, kind=kind, about=about, required=False, nullable=nullable, most=most)


def newest(name: str, kind: Kind, about: str = "", *, nullable: bool = False) -> Field:
    """A field that came with API 3.3, and may be missing."""
    return Field(
        name=name, kind=kind, about=about, required=False, nullable=nullable, since=NEWEST_SERVER_API
    )


def ours(name: str, kind: Kind, about: str = "") -> Field:
    """A field of Fieldpost's own, that may be missing."""
    return Field(name=name, kind=kind, about=about, required=False, own=True)


OPERATION_ID = needs("operation-id", INTEGER, "the operation's")
"""In an agent's answer, and in a server's message, where the server writes it."""
