"""
The page docs/messages.md, written from the declarations.

    python -m tests.wire.catalogue_page >docs/messages.md
"""

import sys
from collections.abc import Iterator, Mapping, Sequence

from fieldpost.wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API
from fieldpost.wire.catalogue import from_agents, from_servers
from fieldpost.wire.declaration import Declaration, Field

HEAD = """\
# Messages

What the built-in types look like: those of Landscape's client and server, and a few of Fieldpost's own. This page is written from
[`wire/catalogue`](../wire/catalogue/from_agents.py); so are the checks at the broker's door, what is sent at which API level, and the
columns of the server. A type that stands nowhere is carried, stored and answered as it is; how to declare one:
[writing a plugin](writing-a-plugin.md#declaring-your-types).

Every message has a `type`, and on the wire an `api` (octets, the level that was in force when it was queued) and a `timestamp`
(integer, seconds since 1970). Fields that are not named here are kept, but not sent to a Landscape server; nor are those that
are Fieldpost's own. Text is taken for octets and octets for text where nothing is lost by it; what is stored is of the kind
below. The broker refuses what is of another kind, and names the field. The server refuses nothing for that: it stores the
message as it came, and what is not as declared has no column ([why](decisions/0009-where-the-declarations-come-from.md)).

## How kinds are written

| | |
|---|---|
| `list of KIND` | each item is of the kind |
| `map of KIND` | keys are text, each value is of the kind; `map by integer of KIND` has integers for keys; those of `map by octets of KIND` are text with us and octets in what Landscape reads |
| `rows of time integer, load number` | a list of rows, each of so many values; Landscape has tuples there |
| `(integer, text)` | a row without names |
| `{name text, size? integer}` | a map of these keys alone; one with a `?` may be missing |
| `{name text, ...}` | the same, and others may be there; Landscape is not sent those |
| `integer or null` | one or the other |
| `list of nothing` | an empty list |
"""


def page() -> str:
    """All of it."""
    parts = (("From agents", from_agents.SECTIONS), ("From servers", from_servers.SECTIONS))
    return "\n".join([HEAD, *(line for title, sections in parts for line in _part(title, sections))])


def _part(title: str, sections: Mapping[str, Sequence[Declaration]]) -> Iterator[str]:
    yield f"## {title}\n"
    for section, declarations in sections.items():
        names = ", ".join(f"`{one.type}`" for one in declarations)
        yield f"- {section}: {names}"
    yield ""
    for section, declarations in sections.items():
        yield f"### {section}\n"
        for declaration in declarations:
            yield from _type(declaration)


def _type(declaration: Declaration) -> Iterator[str]:
    yield f"#### {declaration.type}\n\n{declaration.about}\n"
    if declaration.fields:
        yield "| field | kind | | |\n|---|---|---|---|"
        for field in declaration.fields:
            yield f"| `{field.name}` | `{field.kind.word}` | {_rules(field)} | {field.about} |"
        yield ""


def _rules(field: Field) -> str:
    rules = [
        "required" if field.required else "optional",
        "may be null" if field.nullable else "",
        f"from API {field.since}" if field.since != OLDEST_SERVER_API else "",
        f"up to API {field.until}" if field.until != NEWEST_SERVER_API else "",
        "not for Landscape" if field.own else "",
        f"cut at {field.most:,} characters" if field.most else "",
    ]
    return ", ".join(filter(None, rules))


if __name__ == "__main__":
    sys.stdout.write(page())
