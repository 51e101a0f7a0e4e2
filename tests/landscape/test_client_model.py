"""The model is the client: it sends the captured octets, counts as the real one did, and refuses what breaks that."""

import re
from pathlib import Path
from typing import Any

import pytest

from fieldpost.wire import bpickle
from tests.landscape.client_model import Broken, Disk, LandscapeClient

CAPTURES = Path(__file__).parents[1] / "wire" / "landscape"
TYPES = ["active-process-info", "computer-info", "distribution-info", "load-average", "memory-info", "operation-result",
         "processor-info", "register", "resynchronize", "test", "text-message"]  # fmt: skip
ID = b"SECURE-ID-0001"


def captured(name: str) -> bytes:
    return (CAPTURES / f"{name}.req").read_bytes()


def answered(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def answer(*messages: Any, **fields: Any) -> bytes:
    value = {"server-api": b"3.3", "server-uuid": "u", "messages": list(messages)}
    value |= {name.replace("_", "-"): item for name, item in fields.items()}
    return answered(bpickle.encode({name: item for name, item in value.items() if item is not None}))


def token(number: int) -> bytes:
    return b"00000000-0000-0000-0000-%012d" % number


def client(**disk: Any) -> LandscapeClient:
    found = LandscapeClient(disk=Disk(accepted=sorted(TYPES), api="3.3", **disk))
    found.types_hash = bytes.fromhex("6baae2d0013dae52528e1498b6b025c1")
    return found


def first_contact() -> LandscapeClient:
    return LandscapeClient()


def registering() -> LandscapeClient:
    found = LandscapeClient()
    found.exchange()
    body = (CAPTURES / "01-first-contact.rsp").read_bytes()
    found.take(
        answered(body.replace(b"s14:accepted-types", b"u14:accepted-types"))
    )  # see landscape 1.6, `type`
    return found


def idle() -> LandscapeClient:
    return client(secure_id=ID, token=token(2), sequence=1, next_expected=3)


def with_result() -> LandscapeClient:
    found = client(secure_id=ID, token=token(4), sequence=1, next_expected=4, operations={77: ID})
    found.now = 1795260396
    found.finish(77)
    return found


def clone() -> LandscapeClient:
    found = client(clone_secure_id=ID.decode(), sequence=1, next_expected=4)
    found.now, found.types_hash = 1795259948, None
    return found


def batch() -> LandscapeClient:
    found = client(secure_id=ID, token=token(3), sequence=1, next_expected=3)
    for found.now in (1795262395, 1795262395, 1795262396):
        found.add("text-message", message="x" * 10)
    return found


def killed() -> LandscapeClient:
    found = batch()
    found.exchange()
    found.kill()
    return found


REQUESTS = {
    "01-first-contact": first_contact,
    "02-register": registering,
    "04-registered-idle": idle,
    "05-operation-result": with_result,
    "06-register-after-clone": clone,
    "07-batch-before-kill": batch,
    "07-batch-resent-after-kill": killed,
}


@pytest.mark.parametrize("name", REQUESTS)
def test_it_sends_what_the_real_one_sent(name: str) -> None:
    """Octet by octet, headers and body."""
    assert REQUESTS[name]().exchange() == captured(name)


def test_it_sends_what_the_real_one_sent_after_ancient() -> None:
    """The generation that was kept, then `resynchronize`, from the number that the server named."""
    found = LandscapeClient(disk=Disk(accepted=["register"], api="3.3", token=token(2)), now=1795259938)
    found.exchange()
    found.take(
        answer(
            {"type": "set-id", "id": ID, "insecure-id": 4242},
            {"type": "accepted-types", "types": TYPES},
            {"type": "other"},
            next_expected_sequence=1,
        )
    )
    found.disk.files = found.disk.files[: found.disk.offset]  # what the identity queued went out meanwhile
    found.now = 1795259960
    found.take(answer(next_expected_sequence=-5, next_exchange_token=token(8)))
    found.types_hash = bytes.fromhex("6baae2d0013dae52528e1498b6b025c1")

    assert found.exchange() == captured("08-resync-after-ancient")


def test_it_configures_as_the_real_one() -> None:
    """With the form of registration that is the other program's."""
    assert first_contact().configure() == captured("09-landscape-config-register")


def test_it_finds_its_identity_only_under_text() -> None:
    """From octets the real program reported that none came (landscape 1.6)."""
    octets = answered((CAPTURES / "09-landscape-config-register.rsp").read_bytes())
    found = first_contact()
    found.configure()

    with pytest.raises(Broken, match=r"1\.6"):
        found.take_configuration(octets.replace(b"u6:set-id", b"s6:set-id"))
    assert found.disk.secure_id == b"registering"
    assert found.take_configuration(octets) is None
    assert (found.disk.secure_id, found.disk.insecure_id, found.disk.sequence) == (ID, 4242, 0)


def test_it_pings_as_the_real_one() -> None:
    """With the number alone."""
    assert LandscapeClient(disk=Disk(insecure_id=4242)).ping() == captured("03-ping")


def test_it_asks_before_it_sends_much() -> None:
    """As the headers of the large body were."""
    found = client(secure_id=ID, token=token(3), sequence=1, next_expected=3)
    found.add("text-message", message="x" * 1_371_471)
    head = found.exchange().partition(b"\r\n\r\n")[0]
    want = (CAPTURES / "10-large-body-headers.txt").read_bytes().strip().replace(b"\r\n", b"\n")

    length = rb"Content-Length: \d+"
    assert re.sub(length, b"", head).split(b"\r\n") == re.sub(length, b"", want).split(b"\n")


@pytest.mark.parametrize(
    ("expected", "resynchronizes", "offset", "left", "first", "pending"),
    [
        (15, False, 5, 15, 10, 10),
        (10, False, 5, 20, 5, 15),
        (12, False, 2, 15, 7, 13),
        (25, False, 15, 15, None, 0),
        (26, True, 0, 15, 5, 15),
        (7, False, 2, 20, 2, 18),
        (5, False, 0, 20, 0, 20),
        (4, True, 0, 20, 0, 20),
        (-1, True, 0, 20, 0, 20),
    ],
)
def test_it_counts_as_the_real_one(
    expected: int, resynchronizes: bool, offset: int, left: int, first: int | None, pending: int
) -> None:
    """All rows of the table in landscape 1.8."""
    found = client(secure_id=ID, sequence=10, offset=5)
    for number in range(20):
        found.add("test", number=number)

    found.take(answer(next_expected_sequence=expected))

    waiting = [message for message in found.pending if message["type"] == "test"]
    assert (found.disk.sequence, found.disk.offset) == (expected, offset)
    assert found.resynchronized == resynchronizes
    assert len(found.disk.files) - resynchronizes == left
    assert (waiting[0]["number"] if waiting else None, len(waiting)) == (first, pending)


REGISTERED = {"type": "set-id", "id": ID, "insecure-id": 1}


@pytest.mark.parametrize(
    "octets",
    [
        answer(server_api=None),
        answer(server_uuid=None),
        answer(messages=None),
        answer(next_exchange_token="text"),
        answer(next_expected_sequence=b"1"),
        answer(client_accepted_types_hash="text"),
        answer({"type": b"accepted-types", "types": []}),
        answer({"types": []}),
        answer({"type": "accepted-types", "types": [b"register"]}),
        answer({"type": "accepted-types", "types": "register"}),
        answer({"type": "set-id", "id": "text", "insecure-id": 1}),
        answer({"type": "set-id", "id": ID}),
        answer({"type": "registration", "info": b"unknown-account"}),
        answer({"type": "unknown-id", "clone-of": b"title"}),
        answer({"type": "other", "operation-id": 1}),
        answer(REGISTERED, {"type": "other", "operation-id": "1"}),
        answer(REGISTERED, {"type": "a", "operation-id": 1}, {"type": "a", "operation-id": 1}),
        answer(REGISTERED, {"type": "other", "operation-id": 2**63}),
        answer(REGISTERED, {"type": "resynchronize"}),
        answer({"type": "set-intervals", "exchange": 5}),
        answered(b"l;"),
    ],
)
def test_it_refuses_what_breaks_the_real_one(octets: bytes) -> None:
    """Each of landscape 1.4 to 1.6, and L6, L7, L10 and L11."""
    found = LandscapeClient(plugins=("a",))
    found.exchange()

    with pytest.raises(Broken):
        found.take(octets)
