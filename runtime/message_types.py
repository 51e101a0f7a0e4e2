"""
Message types that a configuration declares: those of plugins, in their manifests and in the server's file.

    [messages.acme-load]
    about = "The load of the machine."

    [messages.acme-load.fields]
    time = { kind = "integer", about = "when" }
    load = { kind = "number" }
    note = { kind = "text", optional = true, at-most = 200 }

The same table serves on both sides: the broker checks by it what a plugin sends, the server keeps typed columns by it.
"""

import re
from collections.abc import Mapping

from attrs import Factory, frozen

from ..wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API
from ..wire.declaration import ENVELOPE, Catalogue, Declaration, Field
from ..wire.errors import Malformed
from ..wire.kinds import TEXT, Kind
from ..wire.message import TYPE_RULE, is_type
from .settings import option

MAX_FIELDS = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)
_LEVELS = {str(level): level for level in (OLDEST_SERVER_API, NEWEST_SERVER_API)}


def _read_kind(word: str) -> Kind:
    from ..wire.kind_words import kind_of  # 33 KiB that no broker needs whose plugins declare nothing

    return kind_of(word)


def _check_kind(word: str) -> None:
    try:
        _read_kind(word)
    except Malformed as error:
        raise ValueError(str(error)) from None


@frozen(kw_only=True)
class FieldOptions:
    """One field, as a file declares it."""

    kind: str = option(check=_check_kind, example='"integer"')
    about: str = ""
    optional: bool = False
    """Whether a message may do without it."""
    nullable: bool = False
    at_most: int | None = option(default=None, at_least=1)
    """Characters of a text; what is longer is cut."""
    since: str = option(default=str(OLDEST_SERVER_API), one_of=tuple(_LEVELS))
    """First API level whose servers know it."""

    def __attrs_post_init__(self) -> None:
        if self.at_most is not None and self.kind != TEXT.word:
            raise ValueError("`at-most` cuts text; leave it out for other kinds")


@frozen(kw_only=True)
class MessageOptions:
    """One type, as a file declares it."""

    about: str = ""
    fields: dict[str, FieldOptions] = Factory(dict)

    def __attrs_post_init__(self) -> None:
        if len(self.fields) > MAX_FIELDS:
            raise ValueError(f"a message may have {MAX_FIELDS} declared fields, not {len(self.fields)}")
        seen: set[str] = set()
        for name in self.fields:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name[:70]!r} is no field's name: letters, digits, `_` and `-`, a letter first"
                )
            if name.lower() in seen:
                raise ValueError(
                    f"`{name}` is there in another spelling; databases could not tell them apart"
                )
            seen.add(name.lower())
            if name in ENVELOPE:
                raise ValueError(f"`{name}` is in every message; leave it out")


def declarations_of(messages: Mapping[str, MessageOptions]) -> tuple[Declaration, ...]:
    """
    What a file declares.

    Raises ValueError for a type that cannot be one, or that is built in.
    """
    for kind in messages:
        if not is_type(kind) or ":" in kind:
            raise ValueError(f"{kind[:70]!r} is no type of message; it must be {TYPE_RULE}, and without `:`")
    found = tuple(_declaration(kind, options) for kind, options in messages.items())
    if found:
        catalogue_with(found)
    return found


def catalogue_with(declarations: tuple[Declaration, ...]) -> Catalogue:
    """
    The built-in types and these.

    Raises ValueError for one that is declared twice.
    """
    from ..wire.catalogue.from_agents import AGENT_MESSAGES  # 100 KiB that no plugin's process needs

    try:
        return AGENT_MESSAGES.with_more(declarations)
    except Malformed as error:
        raise ValueError(str(error)) from None


def _declaration(kind: str, options: MessageOptions) -> Declaration:
    fields = tuple(_field(name, inner) for name, inner in options.fields.items())
    return Declaration(type=kind, about=options.about, fields=fields)


def _field(name: str, options: FieldOptions) -> Field:
    return Field(
        name=name,
        kind=_read_kind(options.kind),
        about=options.about,
        required=not options.optional,
        nullable=options.nullable,
        since=_LEVELS[options.since],
        most=options.at_most,
    )
