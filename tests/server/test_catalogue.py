"""Messages of all built-in types at the server: what is kept of them, what is found, what may be asked."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldpost.runtime.database import transaction
from fieldpost.server.composition import open_server_database
from fieldpost.server.json_form import to_json
from fieldpost.server.typed import Typed
from fieldpost.wire import bpickle, cbor
from fieldpost.wire.catalogue.from_agents import AGENT_MESSAGES
from fieldpost.wire.declaration import Catalogue, Declaration, Field
from fieldpost.wire.kinds import ANYTHING, INTEGER, NUMBER, TEXT, map_of, rows_of
from fieldpost.wire.message import BROKER_TYPES
from tests.server.wired import WiredServer, client_payload
from tests.wire.catalogue_samples import FROM_AGENTS, FROM_SERVERS, Sample, received
from tests.wire.values import of_kind, same, values

STORED = [sample for sample in FROM_AGENTS if sample.type != "register"]
ENCODE = {"application/octet-stream": bpickle.encode, "application/cbor": cbor.encode}


class Client:
    """A registered computer, and what it sends."""

    def __init__(self, path: str = ":memory:") -> None:
        self.wired = WiredServer(path)
        self._secure_id = self.wired.register()
        self._sequence = count(1)

    def send(self, message: dict[str, Any], form: str = "application/cbor") -> int:
        """The id that its message has at the server."""
        payload = client_payload(
            sequence=next(self._sequence), messages=[{"api": b"3.3", "timestamp": 5, **message}]
        )
        body = ENCODE[form](payload)
        reply = self.wired.exchange(body, secure_id=self._secure_id, headers={"Content-Type": form})
        assert reply.status == 200
        ((found,),) = self.wired.connection.execute("SELECT max(id) FROM message").fetchall()
        return int(found)

    def find(self, type: str, search: str = "") -> list[Any]:
        """The messages that the API finds."""
        asked = "".join(
            f"&{name}={quote(value)}"
            for name, _, value in (part.partition("=") for part in search.split("&") if part)
        )
        reply = self.wired.api("GET", f"/messages?type={type}{asked}")
        assert reply.status == 200, reply.json
        found: list[Any] = reply.json["messages"]
        return found


@pytest.fixture(scope="module")
def client() -> Client:
    return Client()


@pytest.mark.parametrize("form", ENCODE)
@pytest.mark.parametrize("sample", STORED, ids=lambda one: one.type)
def test_a_message_is_kept_and_found(client: Client, sample: Sample, form: str) -> None:
    """Whole, in the encoding of either client; by its fields, those of maps in maps and of rows as well."""
    number = client.send(sample.full if "octet" in form else received(sample.full), form)
    least = client.send(received(sample.least), form)

    bodies = {message["id"]: message["body"] for message in client.find(sample.type)}
    assert bodies[number] == to_json({"api": b"3.3", "timestamp": 5, **received(sample.full)})
    assert bodies[least] == to_json({"api": b"3.3", "timestamp": 5, **received(sample.least)})
    assert number in [message["id"] for message in client.find(sample.type, sample.search)]


def test_a_search_says_which(client: Client) -> None:
    """What is found in one row of one message is not found in others."""
    first = client.send({"type": "processor-info", "processors": [{"processor-id": 0, "model": "one"}]})
    client.send({"type": "processor-info", "processors": [{"processor-id": 0, "model": "two"}]})

    found = client.find("processor-info", "processors.model=one")
    assert [message["id"] for message in found] == [first]
    assert client.find("processor-info", "processors.model=three") == []


@pytest.mark.parametrize("sample", STORED, ids=lambda one: one.type)
def test_whatever_a_message_holds_it_is_kept(sample: Sample) -> None:
    """Be its fields of the declared kinds or of others, or strange ones beside them; and searches go on."""
    client = Client()
    declared = AGENT_MESSAGES.declarations[sample.type].fields
    fields = {item.name: of_kind(item.kind) | values for item in declared}

    @settings(max_examples=20, deadline=None)
    @given(st.fixed_dictionaries({}, optional={**fields, "strange": values}))
    def check(message: dict[str, Any]) -> None:
        number = client.send({"type": sample.type, **message})

        ((body,),) = client.wired.connection.execute("SELECT body FROM message WHERE id = ?", (number,))
        assert same(cbor.decode(body), {"api": b"3.3", "timestamp": 5, "type": sample.type, **message})
        client.find(sample.type, sample.search)

    check()


BEFORE = Catalogue.of(
    [
        Declaration(
            type="computer-info",
            fields=tuple(
                Field(name=name, kind=TEXT, required=False) for name in ("hostname", "architecture")
            ),
        ),
        Declaration(
            type="memory-info",
            fields=(
                Field(name="memory-info", kind=rows_of(time=INTEGER, free_memory=INTEGER, free_swap=INTEGER)),
            ),
        ),
        Declaration(
            type="network-activity",
            fields=(
                Field(name="activities", kind=map_of(rows_of(time=INTEGER, received=NUMBER, sent=NUMBER))),
            ),
        ),
        Declaration(
            type="mount-info",
            fields=(Field(name="mount-info", kind=rows_of(time=INTEGER, mount=ANYTHING)),),
        ),
    ]
)
"""What a server of before declared, as far as it is declared otherwise now."""


@pytest.fixture
def old_file(tmp_path: Path) -> Iterator[str]:
    """A database with messages of all types, whose tables are those of before."""
    path = str(tmp_path / "server.sqlite")
    client = Client(path)
    for sample in STORED:
        client.send(sample.full, "application/octet-stream")
    with transaction(client.wired.connection) as txn:
        Typed(BEFORE).prepare_txn(txn)
    client.wired.connection.close()
    with closing(sqlite3.connect(path)) as plain:
        tables = {
            name for (name,) in plain.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'typed:%'")
        }
        assert len(tables) == 4, tables
    yield path


def test_a_database_of_before_has_the_new_columns(old_file: str) -> None:
    """What is stored already is found like what comes."""
    with closing(open_server_database(old_file)):
        pass
    wired = WiredServer(old_file)

    for sample in STORED:
        asked = "&".join(
            f"{name}={quote(value)}"
            for name, _, value in (p.partition("=") for p in sample.search.split("&") if p)
        )
        reply = wired.api("GET", f"/messages?type={sample.type}&{asked}".rstrip("&"))
        assert [message["type"] for message in reply.json["messages"]] == [sample.type], sample.type


# what may be asked of computers


@pytest.mark.parametrize(
    "sample", [one for one in FROM_SERVERS if one.type not in BROKER_TYPES], ids=lambda one: one.type
)
def test_operations_are_checked(client: Client, sample: Sample) -> None:
    """Each declared field; the error names it."""
    fields = {
        name: value
        for name, value in received(sample.full).items()
        if name not in ("type", "operation-id", "attachments")
    }

    asked = client.wired.api(
        "POST", "/operations", {"computer": 1, "type": sample.type, "fields": to_json(fields)}
    )
    assert asked.status == 201, asked.json
    assert asked.json["fields"] == to_json(fields)
    for name in fields:
        wrong = "x" if name in ("start-time", "time-limit") else {"float": "nan"}
        fields_then = {**to_json(fields), name: wrong}
        refused = client.wired.api(
            "POST", "/operations", {"computer": 1, "type": sample.type, "fields": fields_then}
        )
        assert refused.status == 400
        assert f"`{name}` " in refused.json["error"]
