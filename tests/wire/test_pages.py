"""The two pages on protocols say what the code does: their examples, tables, names and limits are read from the pages."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import fields
from twisted.protocols import amp

from fieldpost.wire import cbor, encoding, http, local, message
from fieldpost.wire.api import CLIENT_API, NEWEST_SERVER_API, OLDEST_SERVER_API
from fieldpost.wire.digest import types_digest
from fieldpost.wire.local import CALLS, EVENTS, Send, Stored
from fieldpost.wire.payload import MAX_SEQUENCE, MAX_TYPES, MAX_UUID_LENGTH, ClientPayload, ServerPayload
from fieldpost.wire.schema import from_map, to_map
from fieldpost.wire.sequence import judge_answer

DOCS = Path(__file__).parents[2] / "docs"
EXCHANGE = (DOCS / "exchange-protocol.md").read_text()
LOCAL = (DOCS / "local-protocol.md").read_text()


def _block(page: str, name: str) -> str:
    found = re.search(rf"```{name}\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


def _octets(block: str) -> bytes:
    """The hexadecimal pairs that begin each line; a wide gap parts them from what is said about them."""
    return bytes.fromhex("".join(re.split(r" {3,}", line.strip())[0] for line in block.splitlines()))


def _rows(page: str, first_column: str) -> Iterator[list[str]]:
    """The cells of the table whose heading begins so."""
    lines = iter(page.splitlines())
    assert any(line.startswith(f"| {first_column} |") for line in lines)
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def _keys(cls: type) -> set[str]:
    return {field.metadata["name"] or field.name.replace("_", "-") for field in fields(cls)}


# The exchange


def test_the_request_of_the_page_is_read_and_written_octet_for_octet() -> None:
    """Another program may check itself against it."""
    octets = _octets(_block(EXCHANGE, "request"))
    payload = ClientPayload.from_map(cbor.decode(octets))

    assert cbor.encode(payload.to_map()) == octets
    assert [each["type"] for each in payload.messages] == [message.REGISTER]
    assert (payload.sequence, payload.next_expected_sequence) == (4, 1)


def test_the_answer_of_the_page_is_read_and_written_octet_for_octet() -> None:
    """It takes the message of the request."""
    octets = _octets(_block(EXCHANGE, "answer"))
    payload = ServerPayload.from_map(cbor.decode(octets))

    assert cbor.encode(payload.to_map()) == octets
    assert [each["type"] for each in payload.messages] == [message.SET_ID]
    assert payload.next_expected_sequence == 5


@pytest.mark.parametrize(("heading", "payload"), [(0, ClientPayload), (1, ServerPayload)])
def test_the_payloads_tables_have_all_keys_and_no_others(heading: int, payload: type) -> None:
    """What the page does not name does not exist."""
    page = EXCHANGE.split("| key | kind | meaning |")[heading + 1]
    named = re.findall(r"^\| `([a-z-]+)` \|", page.split("\n\n")[0], re.MULTILINE)

    assert set(named) == _keys(payload)
    assert len(named) == len(set(named))


@pytest.mark.parametrize("row", list(_rows(EXCHANGE, "E")), ids=lambda row: f"E={row[0]}")
def test_the_sequence_table_is_true(row: list[str]) -> None:
    """Kept: what was kept before, moved by the step, unless all was numbered anew."""
    expected = int(row[0])

    verdict = judge_answer(sequence=10, kept=5, sent=15, expected=expected)

    kept = 0 if verdict.resynchronizes else expected - 10 + (5 if verdict.value == "resend" else 0)
    first = {"ahead": 5, "ancient": 0}.get(verdict.value, expected - 5)
    assert row[1:] == [verdict.value, str(kept), f"m{first}" if first < 20 else ""]


@pytest.mark.parametrize("row", list(_rows(EXCHANGE, "types")), ids=lambda row: row[0][:20])
def test_the_digest_table_is_true(row: list[str]) -> None:
    """Each digest is that of the types beside it."""
    assert types_digest(re.findall("`([^`]+)`", row[0])).hex() == row[1].strip("`")


@pytest.mark.parametrize(
    "name",
    [
        http.EXCHANGE_PATH,
        http.COMPUTER_ID,
        http.EXCHANGE_TOKEN,
        http.MESSAGE_API,
        encoding.CBOR_TYPE,
        *message.BROKER_TYPES,
        message.REGISTER,
        message.OPERATION_RESULT,
        message.RECEIPT,
        str(CLIENT_API),
        str(OLDEST_SERVER_API),
        str(NEWEST_SERVER_API),
    ],
)
def test_every_name_of_the_exchange_is_on_its_page(name: str) -> None:
    """In code letters."""
    assert re.search(rf"`(?:POST )?{re.escape(name)}`", EXCHANGE)


@pytest.mark.parametrize(
    ("page", "sentence", "numbers"),
    [
        (EXCHANGE, "of up to {} octets unless", [http.MAX_EXCHANGE_OCTETS]),
        (EXCHANGE, "hold {} lists and maps inside each other and {} values",
         [cbor.DEFAULT_LIMITS.depth, cbor.DEFAULT_LIMITS.items]),
        (EXCHANGE, "on its own, {} and {}", [local.MAX_MESSAGE_DEPTH, local.MAX_MESSAGE_ITEMS]),
        (EXCHANGE, "1 to {} octets of visible ASCII", [http.MAX_CREDENTIAL_OCTETS]),
        (EXCHANGE, "at most {} | the types that the agent takes", [MAX_TYPES]),
        (EXCHANGE, "1 to {} characters, or octets of ASCII", [MAX_UUID_LENGTH]),
        (EXCHANGE, "between -2^{0} and 2^{0}", [MAX_SEQUENCE.bit_length() - 1]),
        (EXCHANGE, "1 to {} printable characters without", [message.MAX_TYPE_LENGTH]),
        (EXCHANGE, "`status` {} (failed) or {} (succeeded)", [message.FAILED, message.SUCCEEDED]),
        (LOCAL, "holds the first {}", [local.MAX_VALUE_OCTETS]),
        (LOCAL, "body may have {} octets", [local.MAX_BODY_OCTETS]),
        (LOCAL, "at most {}; each one message", [local.MAX_BATCH_MESSAGES]),
        (LOCAL, "of at most {} octets (4 MiB), {} values, and {} lists",
         [local.MAX_MESSAGE_OCTETS, local.MAX_MESSAGE_ITEMS, local.MAX_MESSAGE_DEPTH]),
        (LOCAL, "It may have {} unanswered", [local.MAX_BATCHES_IN_FLIGHT]),
        (LOCAL, "This page is version {}", [local.NEWEST_VERSION]),
    ],
)  # fmt: skip
def test_every_limit_on_a_page_is_the_limit_of_the_code(page: str, sentence: str, numbers: list[int]) -> None:
    """Told to the peer is told truly."""
    assert sentence.format(*(f"{number:,}" for number in numbers)) in page.replace("\n", " ")


# The local protocol


def _box(block: str) -> dict[bytes, bytes]:
    (box,) = amp.parseString(_octets(block))
    return dict(box)


def _body(box: dict[bytes, bytes]) -> Any:
    return cbor.decode(box[b"body"])


def test_the_call_of_the_page_is_a_batch_of_one_message() -> None:
    """Read by Twisted's AMP, and written by it again octet for octet."""
    block = _block(LOCAL, "call")
    box = _box(block)
    send = from_map(Send, _body(box))

    assert (box[b"_command"], box[b"_ask"]) == (b"send", b"1")
    assert send == Send(plugin="door", batch=1, messages=(cbor.encode({"type": "door", "open": True}),))
    assert amp.Box(_ask=b"1", _command=b"send", body=cbor.encode(to_map(send))).serialize() == _octets(block)


def test_the_answer_of_the_page_says_that_it_is_stored() -> None:
    """Under the call's tag."""
    block = _block(LOCAL, "answer")
    box = _box(block)

    assert from_map(Stored, _body(box)) == Stored(stored=1)
    assert amp.Box(_answer=b"1", body=box[b"body"]).serialize() == _octets(block)
    assert cbor.encode(to_map(Stored(stored=1))) == box[b"body"]


@pytest.mark.parametrize("name", CALLS)
def test_every_call_has_a_section_that_names_all_fields(name: str) -> None:
    """Those of the call, and those of its answer."""
    section = re.search(rf"^### `{name}`$(.*?)^##", LOCAL, re.DOTALL | re.MULTILINE)

    assert section is not None
    for word in CALLS[name]:
        assert _keys(word) <= set(re.findall("`([a-z-]+)`", section[1]))


def test_every_event_error_and_outcome_is_on_the_page() -> None:
    """In code letters."""
    words = {
        *EVENTS,
        local.REFUSED,
        local.UNAVAILABLE,
        local.NO_VERSION,
        local.DONE,
        local.FAILED,
        local.NOT_HANDLED,
    }
    words |= {
        local.MALFORMED,
        local.TOO_LARGE,
        local.NOT_GRANTED,
        local.OBSOLETE_SESSION,
        local.OBSOLETE_OPERATION,
    }

    assert words <= set(re.findall("`([^`]+)`", re.sub("```.*?```", "", LOCAL, flags=re.DOTALL)))
