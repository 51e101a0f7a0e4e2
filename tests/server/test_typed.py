"""Fields of declared messages as columns, and searches by them."""

from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import pytest

from fieldpost.runtime.database import transaction
from fieldpost.server.composition import open_server_database
from fieldpost.server.messages import row_of, store_messages_txn
from fieldpost.server.typed import Typed, store_parts_txn
from fieldpost.server.typed_table import MOST_COLUMNS, MOST_TEXT
from fieldpost.wire import cbor
from fieldpost.wire.catalogue.from_agents import AGENT_MESSAGES
from fieldpost.wire.declaration import Catalogue, Declaration, Field
from fieldpost.wire.kinds import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    NULL,
    NUMBER,
    OCTETS,
    TEXT,
    Kind,
    either,
    list_of,
    map_of,
    record_of,
    rows_of,
    tuple_of,
)
from tests.server.wired import WiredServer, client_payload

POINTS = rows_of(time=INTEGER, what=ANYTHING, load=NUMBER)


def declared(**kinds: Kind) -> Typed:
    fields = tuple(Field(name=name, kind=kind, required=False) for name, kind in kinds.items())
    return Typed(Catalogue.of([Declaration(type="note", fields=fields)]))


PLAIN = declared(
    text=TEXT, octets=OCTETS, whole=INTEGER, real=NUMBER, flag=BOOLEAN, message=TEXT, many=list_of(TEXT)
)
INNER = record_of({"name": TEXT, "in?": record_of({"size": INTEGER})})
NESTED = declared(
    who=record_of(
        {
            "name": TEXT,
            "size": either(INTEGER, NULL),
            "in": record_of({"flag": BOOLEAN}),
            "many": list_of(TEXT),
        }
    ),
    list=list_of(INNER),
    deep=record_of({"list": list_of(record_of({"name": TEXT}))}),
    by=map_of(record_of({"name": TEXT}), by=INTEGER),
    rows=rows_of(time=INTEGER, what=INNER),
    plain=list_of(TEXT),
    pairs=list_of(tuple_of(INTEGER, TEXT)),
    lists=list_of(list_of(record_of({"name": TEXT}))),
    either=either(INTEGER, TEXT),
)
ROWS = declared(points=POINTS, by=map_of(rows_of(load=NUMBER)))


@pytest.fixture
def connection(tmp_path: Path) -> Any:
    with closing(open_server_database(str(tmp_path / "server.sqlite"))) as opened:
        opened.execute(
            "INSERT INTO computer (id, secure_id, account, registration_id, title, hostname, status, created, expected)"
            " VALUES (1, x'01', 'a', 'r', 't', 'h', 'approved', 0, 0)"
        )
        yield opened


def prepare(connection: Connection, typed: Typed) -> None:
    with transaction(connection) as txn:
        typed.prepare_txn(txn)


def store(connection: Connection, typed: Typed, *messages: dict[str, Any]) -> None:
    messages = tuple({"type": "note", **message} for message in messages)
    rows = [(number, row_of(one, cbor.encode(one))) for number, one in enumerate(messages)]
    with transaction(connection) as txn:
        first = store_messages_txn(txn, computer=1, received=0, numbered=rows)
        store_parts_txn(txn, [(first + at, typed.parts(one)) for at, one in enumerate(messages)])


def table(connection: Connection, name: str) -> list[tuple[Any, ...]]:
    return connection.execute(f'SELECT * FROM "{name}"').fetchall()


def test_plain_fields_are_columns(connection: Connection) -> None:
    """Each of the declared type; a field that is not there is null."""
    prepare(connection, PLAIN)
    store(
        connection,
        PLAIN,
        {"text": "a", "octets": b"b", "whole": 1, "real": 2, "flag": True, "message": "m"},
        {},
    )

    assert table(connection, "typed:note") == [
        (1, "a", b"b", 1, 2.0, 1, "m"),
        (2, None, None, None, None, None, None),
    ]


def test_what_is_not_as_declared_is_null(connection: Connection) -> None:
    """A message is stored whatever a computer puts into it."""
    prepare(connection, PLAIN)
    wrong = {"text": 1, "octets": 1, "whole": 2**64, "real": "x", "flag": 1, "message": [], "many": 5}
    mixed = {"text": b"a", "octets": "b", "whole": "1", "real": float("nan"), "flag": None}
    store(connection, PLAIN, wrong, mixed, {"text": b"\xff", "message": "x" * 2000})

    assert table(connection, "typed:note") == [
        (1, None, None, None, None, None, None),
        (2, "a", b"b", None, None, None, None),
        (3, None, None, None, None, None, "x" * MOST_TEXT),
    ]
    assert connection.execute("SELECT count(*) FROM message").fetchone() == (3,)


def test_rows_are_rows(connection: Connection) -> None:
    """Of a field made of rows, and of a map of such; what is no row is left out."""
    prepare(connection, ROWS)
    store(
        connection,
        ROWS,
        {
            "points": [[1, {}, 0.5], "x", [2, None], (3, None, "high")],
            "by": {"b": [[1.0]], "a": [[2], [3]], 5: [[4]]},
        },
        {"points": "none", "by": 1},
    )

    assert table(connection, "typed:note:points") == [(1, 0, 1, 0.5), (1, 1, 3, None)]
    assert table(connection, "typed:note:by") == [(1, 0, "b", 1.0), (1, 1, "a", 2.0), (1, 2, "a", 3.0)]


def test_maps_of_known_keys_are_columns(connection: Connection) -> None:
    """Called by the way to them; what is not there, or not as declared, is null."""
    prepare(connection, NESTED)
    store(
        connection,
        NESTED,
        {"who": {"name": "a", "size": None, "in": {"flag": True}, "many": [1]}, "else": 5},
        {"who": {"name": 5, "in": [], "more": "x"}},
        {"who": "nobody"},
    )

    columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info('typed:note')")]
    assert columns == [":message", "who.name", "who.size", "who.in.flag"]
    assert table(connection, "typed:note") == [
        (1, "a", None, 1),
        (2, None, None, None),
        (3, None, None, None),
    ]


def test_lists_and_maps_of_maps_have_rows(connection: Connection) -> None:
    """Also where they stand in a map; whatever is in the list that is no map has none."""
    prepare(connection, NESTED)
    store(
        connection,
        NESTED,
        {
            "list": [{"name": "a", "in": {"size": 1}}, 7, {"more": 1}],
            "deep": {"list": [{"name": "b"}], "other": 1},
            "by": {7: {"name": "c"}, "8": {"name": "d"}, 9: [], 2**63: {"name": b"e"}},
            "rows": [[1, {"name": "f", "in": {"size": 2}}], [2, None], [3]],
        },
        {"list": {}, "deep": [], "by": [], "rows": {}},
    )

    assert table(connection, "typed:note:list") == [(1, 0, "a", 1), (1, 1, None, None)]
    assert table(connection, "typed:note:deep.list") == [(1, 0, "b")]
    assert table(connection, "typed:note:by") == [(1, 0, "7", "c"), (1, 1, str(2**63), "e")]
    assert table(connection, "typed:note:rows") == [(1, 0, 1, "f", 2), (1, 1, 2, None, None)]


def test_what_is_repeated_otherwise_has_no_table(connection: Connection) -> None:
    """Lists of plain values, rows without names, lists in lists."""
    prepare(connection, NESTED)

    names = {
        name.split(":")[2]
        for (name,) in connection.execute("SELECT name FROM typed_table")
        if name.count(":") > 1
    }
    assert names == {"list", "deep.list", "by", "rows"}


def test_a_table_has_so_many_columns_and_no_more(connection: Connection) -> None:
    """A declaration can be of any length; a statement of SQLite cannot."""
    wide = declared(
        **{f"f{number}": record_of({f"k{key}": INTEGER for key in range(60)}) for number in range(9)}
    )
    prepare(connection, wide)
    store(connection, wide, *({"f0": {"k0": number}, "f8": {"k59": 1}} for number in range(200)))

    (width,) = connection.execute("SELECT count(*) FROM pragma_table_info('typed:note')").fetchone()
    assert width == 1 + MOST_COLUMNS
    assert [row[1] for row in table(connection, "typed:note")] == list(range(200))


def test_many_messages_keep_their_own_rows(connection: Connection) -> None:
    """However many go in at once."""
    prepare(connection, PLAIN)
    store(connection, PLAIN, {"whole": -1})
    store(connection, PLAIN, *({"whole": number} for number in range(700)))

    query = 'SELECT id, body, whole FROM message JOIN "typed:note" ON id = ":message"'
    found = connection.execute(query).fetchall()
    assert len(found) == 701
    assert all(cbor.decode(body)["whole"] == whole for _, body, whole in found)


def test_a_new_declaration_covers_what_is_stored(connection: Connection) -> None:
    """A table is filled when it is made, made anew when it is declared otherwise, and goes with its declaration."""
    nothing = Typed(Catalogue({}))
    prepare(connection, nothing)
    store(connection, nothing, *({"whole": number} for number in range(1500)))

    prepare(connection, declared(whole=INTEGER))
    assert len(table(connection, "typed:note")) == 1500
    prepare(connection, declared(whole=TEXT, text=TEXT))
    assert table(connection, "typed:note")[5] == (6, None, None)
    prepare(connection, nothing)
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'typed:%'").fetchone() == (
        0,
    )


def test_starting_again_changes_nothing(connection: Connection) -> None:
    """Tables that are right are left alone: an index that an operator made stays."""
    prepare(connection, PLAIN)
    connection.execute('CREATE INDEX mine ON "typed:note" (whole)')
    prepare(connection, PLAIN)

    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'mine'").fetchone() == (1,)


def test_all_that_is_built_in_can_be_stored(connection: Connection) -> None:
    """The catalogue makes tables."""
    prepare(connection, Typed(AGENT_MESSAGES))

    names = {name for (name,) in connection.execute("SELECT name FROM typed_table")}
    assert {"typed:computer-info", "typed:operation-result", "typed:cpu-usage:cpu-usages"} <= names


def test_a_name_cannot_become_sql(connection: Connection) -> None:
    """Declarations come from whoever writes plugins."""
    nasty = Declaration(type='a" x', fields=(Field(name='b" TEXT); --', kind=TEXT),))
    typed = Typed(Catalogue.of([nasty]))
    prepare(connection, typed)

    assert connection.execute('SELECT count(*) FROM "typed:a"" x"').fetchone() == (0,)


# searches


@pytest.fixture(scope="module")
def wired() -> WiredServer:
    wired = WiredServer()
    secure_id = wired.register()
    messages = [
        {"type": "computer-info", "hostname": "one", "processors": 4},
        {"type": "computer-info", "hostname": "two", "processors": 16},
        {"type": "cpu-usage", "cpu-usages": [[300, 0.25], [600, 0.95]]},
        {"type": "cpu-usage", "cpu-usages": [[900, 0.5]]},
        {"type": "network-activity", "activities": {"eth0": [[300, 5, 6]], "lo": [[300, 1, 1]]}},
        {"type": "free-space", "odd": True},
    ]
    assert wired.exchange(client_payload(sequence=1, messages=messages), secure_id=secure_id).status == 200
    return wired


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("type=computer-info&hostname=two", [2]),
        ("type=computer-info&processors=4", [1]),
        ("type=computer-info&processors.min=4", [1, 2]),
        ("type=computer-info&processors.min=5&processors.max=16", [2]),
        ("type=computer-info&processors.max=3", []),
        ("type=computer-info&hostname=two&computer=1&after=1", [2]),
        ("type=cpu-usage&cpu-usages.load.min=0.9", [3]),
        ("type=cpu-usage&cpu-usages.load=0.5", [4]),
        ("type=cpu-usage&cpu-usages.time.max=300", [3]),
        ("type=network-activity&activities.key=lo", [5]),
    ],
)
def test_messages_are_found_by_their_fields(wired: WiredServer, query: str, numbers: list[int]) -> None:
    """Equal, at least, at most; in any row."""
    reply = wired.api("GET", f"/messages?{query}")

    assert reply.status == 200, reply.json
    assert [message["number"] for message in reply.json["messages"]] == numbers


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("hostname=two", "there is no parameter 'hostname'"),
        ("type=mystery&hostname=two", "'mystery' is not declared"),
        ("type=computer-info&hostnam=two", "known are hostname, architecture"),
        ("type=computer-info&hostname.min=a", "'hostname.min' of computer-info cannot be asked for"),
        ("type=computer-info&processors=many", "`processors` must be an integer of 64 bits, not 'many'"),
        ("type=computer-info&processors=9999999999999999999", "`processors` must be an integer of 64 bits"),
        ("type=computer-info&processors=1_0", "`processors` must be an integer of 64 bits"),
        ("type=cpu-usage&cpu-usages.load=inf", "`cpu-usages.load` must be a number"),
        ("type=cpu-usage&cpu-usages=1", "'cpu-usages' of cpu-usage cannot be asked for"),
        ("type=computer-info&hostname=a&hostname=b", "`hostname` is given twice"),
    ],
)
def test_a_search_that_cannot_be_is_refused(wired: WiredServer, query: str, said: str) -> None:
    """With the names that there are."""
    reply = wired.api("GET", f"/messages?{query}")

    assert reply.status == 400
    assert said in reply.json["error"]
