"""
The page docs/messages.md, written from the declarations.

    python -m tests.wire.catalogue_page >docs/messages.md
"""

import sys
from collections.abc import Iterator

from fieldpost.wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API
from fieldpost.wire.catalogue import AGENT_MESSAGES, SERVER_MESSAGES
from fieldpost.wire.declaration import Catalogue, Declaration, Field

HEAD = """\
# Messages

What the built-in types look like. This page is written from `wire/catalogue.py`; so are the checks at the broker's door, what is sent at
which API level, and the columns of the server. A type that stands nowhere is carried, stored and answered as it is; how to
declare one: [writing a plugin](writing-a-plugin.md).

Every message has a `type`, and on the wire an `api` (octets, the level that was in force when it was queued) and a `timestamp`
(integer, seconds since 1970). Fields that are not named here are kept, but not sent to a Landscape server. Text is taken for
octets and octets for text where nothing is lost by it; what is stored is of the kind below.
"""


def page() -> str:
    """All of it."""
    return "\n".join([HEAD, *_part("From agents", AGENT_MESSAGES), *_part("From servers", SERVER_MESSAGES)])


def _part(title: str, catalogue: Catalogue) -> Iterator[str]:
    yield f"## {title}\n"
    for declaration in sorted(catalogue.declarations.values(), key=lambda one: one.type):
        yield from _type(declaration)


def _type(declaration: Declaration) -> Iterator[str]:
    yield f"### {declaration.type}\n\n{declaration.about}\n"
    if declaration.fields:
        yield "| field | kind | | |\n|---|---|---|---|"
        for field in declaration.fields:
            yield f"| `{field.name}` | {field.kind.word} | {_rules(field)} | {field.about} |"
        yield ""


def _rules(field: Field) -> str:
    rules = [
        "required" if field.required else "optional",
        "may be null" if field.nullable else "",
        f"from API {field.since}" if field.since != OLDEST_SERVER_API else "",
        f"up to API {field.until}" if field.until != NEWEST_SERVER_API else "",
        f"cut at {field.most:,} characters" if field.most else "",
    ]
    return ", ".join(filter(None, rules))


if __name__ == "__main__":
    sys.stdout.write(page())
