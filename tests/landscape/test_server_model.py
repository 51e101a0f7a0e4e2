"""
Our server and Landscape's client, as strict as the model has it, through all that they go through together.

The server is whole, down to the octets of HTTP; `RealServer` in the last tests is a process of its own on a socket.
"""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldpost.server.policy import AcceptedTypes, Account, Policy
from tests.landscape.client_model import LandscapeClient, read_answer, snapshot
from tests.landscape.server_process import Server
from tests.server.wired import TOKEN, WiredServer

TYPES = ("computer-info", "load-average", "operation-result", "register", "resynchronize", "text-message")


def server(**door: Any) -> WiredServer:
    account = Account(**{"name": "onward", "registration_key": "sekret", "auto_accept": True, **door})
    return WiredServer(policy=Policy(accounts={"onward": account}, accepted=AcceptedTypes(TYPES)))


def meet(wired: WiredServer, client: LandscapeClient, times: int = 1) -> None:
    for _ in range(times):
        client.take(wired.send_octets(client.exchange()))


def lose(wired: WiredServer, client: LandscapeClient) -> bytes:
    """An exchange whose answer the client never sees."""
    return wired.send_octets(client.exchange())


def settled(wired: WiredServer, **facts: Any) -> LandscapeClient:
    """A client that is registered and has nothing left to say."""
    client = LandscapeClient(**facts)
    meet(wired, client, 4)
    assert client.disk.secure_id is not None
    assert not client.pending
    return client


def numbers(wired: WiredServer, computer: int | None = None) -> list[int]:
    return [one["number"] for one in wired.stored(computer) if one["type"] == "load-average"]


def load(client: LandscapeClient, *numbers: int) -> None:
    for number in numbers:
        client.add("load-average", number=number)


def operate(wired: WiredServer, kind: str = "frobnicate", computer: int = 1, **fields: Any) -> int:
    reply = wired.api("POST", "/operations", {"computer": computer, "type": kind, "fields": fields})
    assert reply.status == 201, reply.json
    number: int = reply.json["id"]
    return number


def status(wired: WiredServer, operation: int) -> str:
    found: str = wired.api("GET", f"/operations/{operation}").json["status"]
    return found


# first contact, registration, idle, ping


def test_first_contact_and_registration() -> None:
    """Two exchanges, and it has its identity, all types, and level 3.3; a third says that it starts afresh."""
    wired = server()
    client = LandscapeClient(plugins=("frobnicate",))

    meet(wired, client)
    assert (client.disk.accepted, client.disk.api, client.is_urgent) == (["register"], "3.3", True)
    meet(wired, client)
    assert client.disk.secure_id is not None
    assert client.disk.accepted == sorted(TYPES)
    meet(wired, client)

    assert [message["type"] for message in wired.stored()] == ["resynchronize"]
    assert wired.api("GET", "/computers/1").json["handles"] == sorted(
        [
            "accepted-types",
            "frobnicate",
            "registration",
            "resynchronize",
            "set-id",
            "set-intervals",
            "unknown-id",
        ]
    )


def test_a_day_of_nothing() -> None:
    """An idle client gets a token each time and nothing else, and tells its types once."""
    wired = server()
    client = settled(wired)
    heard = len(client.received)

    for _ in range(96):
        assert "client-accepted-types" not in client.payload()
        meet(wired, client)
        assert client.disk.token is not None

    assert len(client.received) == heard
    assert not client.is_urgent


def test_ping_wakes_it() -> None:
    """A ping says yes as long as something waits, and no else."""
    wired = server()
    client = settled(wired, plugins=("frobnicate",))
    assert not client.take_ping(wired.send_octets(client.ping()))
    operate(wired)

    assert client.take_ping(wired.send_octets(client.ping()))
    meet(wired, client, 2)
    assert not client.take_ping(wired.send_octets(client.ping()))


def test_pending_until_the_operator_decides() -> None:
    """It registers again each time, with rising numbers, is one computer, and loses nothing that it queues afterwards."""
    wired = server(auto_accept=False)
    client = LandscapeClient()
    meet(wired, client, 6)
    assert client.disk.secure_id is None
    wired.api("POST", "/computers/1", {"action": "approve"})
    meet(wired, client, 2)
    load(client, 1, 2)
    meet(wired, client)

    assert len(wired.api("GET", "/computers").json["computers"]) == 1
    assert numbers(wired) == [1, 2]


@pytest.mark.parametrize(
    ("facts", "info"), [({"key": "wrong"}, "unknown-account"), ({"account": "x"}, "unknown-account")]
)
def test_registration_that_fails(facts: dict[str, Any], info: str) -> None:
    """It is told why, in words that it knows, each time that it asks."""
    client = LandscapeClient(**facts)
    meet(server(), client, 3)

    assert [message["info"] for message in client.received if message["type"] == "registration"] == [info] * 2


def configure(wired: WiredServer, client: LandscapeClient, times: int = 1) -> str | None:
    """What `landscape-config` says in the end; it tries again at once, and stops when it is registered."""
    said: str | None = "it was not asked"
    while times and said is not None:
        said, times = client.take_configuration(wired.send_octets(client.configure())), times - 1
    return said


def test_the_other_form_of_registration() -> None:
    """`landscape-config` registers; the broker that it starts then has the identity, counts from 0, and loses nothing."""
    wired = server()
    client = LandscapeClient()
    assert configure(wired, client) is None
    identity = client.disk.secure_id

    load(client, 1, 2)
    meet(wired, client, 4)

    assert numbers(wired) == [1, 2]
    assert client.disk.secure_id == identity
    assert client.resynchronized == 0
    assert not any(message["type"] in ("set-id", "unknown-id") for message in client.received)
    assert [computer["status"] for computer in wired.api("GET", "/computers").json["computers"]] == [
        "approved"
    ]


def test_the_other_form_while_the_operator_decides() -> None:
    """It gives up after fourteen times; the broker, who says `registering` at first, goes on asking as the same computer."""
    wired = server(auto_accept=False)
    client = LandscapeClient()
    assert configure(wired, client, 14) == "no identity came"
    assert client.disk.secure_id == b"registering"
    meet(wired, client, 3)
    wired.api("POST", "/computers/1", {"action": "approve"})
    meet(wired, client, 2)
    load(client, 1)
    meet(wired, client)

    assert numbers(wired) == [1]
    assert len(wired.api("GET", "/computers").json["computers"]) == 1


def test_the_other_form_of_a_machine_that_is_registered() -> None:
    """Configured anew it has an identity that counts, whichever; what it queued before arrives."""
    wired = server()
    client = settled(wired)
    load(client, 1)
    assert configure(wired, client) is None
    client.kill()
    meet(wired, client, 3)
    load(client, 2)
    meet(wired, client)

    assert client.disk.secure_id not in (None, b"registering")
    assert not client.pending
    assert numbers(wired) == [1, 2]


def test_the_other_form_that_fails() -> None:
    """It is told why."""
    assert configure(server(), LandscapeClient(key="wrong"), 14) == "unknown-account"
    assert (
        configure(server(auto_accept=False, max_pending=0), LandscapeClient(), 14) == "max-pending-computers"
    )


# messages


def test_a_backlog_arrives_whole_and_in_order() -> None:
    """A hundred at a time, each with a token, none twice."""
    wired = server()
    client = settled(wired)
    load(client, *range(450))

    while client.pending:
        meet(wired, client)

    assert numbers(wired) == list(range(450))


def test_what_is_not_accepted_waits() -> None:
    """Held messages go when their type is taken, and not before."""
    wired = server()
    client = settled(wired)
    client.add("unheard-of")
    load(client, 1)
    meet(wired, client, 2)

    assert [message["type"] for message in client.disk.held] == ["unheard-of"]
    assert numbers(wired) == [1]


@pytest.mark.parametrize("killed", [False, True])
def test_a_lost_answer_doubles_nothing(killed: bool) -> None:
    """The batch comes again under its numbers, without a token, after a kill with the types too; and is stored once."""
    wired = server()
    client = settled(wired)
    load(client, 1, 2, 3)
    lose(wired, client)
    if killed:
        client.kill()
    assert client.disk.token is None
    load(client, 4)
    meet(wired, client, 2)

    assert numbers(wired) == [1, 2, 3, 4]
    assert client.resynchronized == 1


def test_a_server_put_back_asks_for_what_was_kept() -> None:
    """The database is older than the client: what the client still keeps comes again, and the count goes on."""
    wired = server()
    client = settled(wired)
    load(client, 1, 2, 3)
    meet(wired, client)
    wired.connection.execute(
        "UPDATE computer SET expected = expected - 2, token = NULL, previous_token = NULL"
    )
    wired.connection.execute("DELETE FROM message WHERE id > (SELECT max(id) - 2 FROM message)")
    meet(wired, client, 3)

    assert numbers(wired) == [1, 2, 3]


def test_a_server_put_back_too_far_gets_all_afresh() -> None:
    """Older than what the client keeps: it sends what it has from the number that the server names, and reports afresh."""
    wired = server()
    client = settled(wired)
    for number in range(5):
        load(client, number)
        meet(wired, client)
    wired.connection.execute("UPDATE computer SET expected = -5, token = NULL, previous_token = NULL")
    before = client.resynchronized
    meet(wired, client, 3)
    load(client, 9)
    meet(wired, client)

    assert client.resynchronized == before + 1
    assert client.disk.sequence == wired.api("GET", "/computers/1").json["next-expected-sequence"]
    assert [message["type"] for message in wired.stored()][-2:] == ["resynchronize", "load-average"]


def test_a_client_put_back_is_told_where_we_are() -> None:
    """Its counter is lower than ours: too high a number for it, so it goes on from there and reports afresh."""
    wired = server()
    client = settled(wired)
    for number in range(10):
        load(client, number)
        meet(wired, client)
    client.disk.sequence = client.disk.offset = 0
    client.disk.files = []
    client.disk.token = None
    before = client.resynchronized
    meet(wired, client, 2)
    load(client, 10)
    meet(wired, client, 2)

    assert client.resynchronized == before + 1
    assert numbers(wired) == list(range(11))


def test_a_client_that_ran_ahead_is_called_back() -> None:
    """It starts above what is expected: nothing of it is taken, and the number is told until it comes back."""
    wired = server()
    client = settled(wired)
    client.disk.sequence += 50
    load(client, 1)
    meet(wired, client, 3)
    load(client, 2)
    meet(wired, client, 2)

    assert numbers(wired) == [1, 2]


# operations


def test_operation_and_result() -> None:
    """Done once, with text and code, by a plugin; and honestly failed where there is none."""
    wired = server()
    client = settled(wired, plugins=("frobnicate",))
    known, unknown = operate(wired, force=9), operate(wired, "unheard-of")
    meet(wired, client)
    client.finish(known, "frobnicated")
    meet(wired, client, 2)

    assert (status(wired, known), status(wired, unknown)) == ("succeeded", "failed")
    assert [message["force"] for message in client.received if message["type"] == "frobnicate"] == [9]
    assert wired.api("GET", f"/operations/{known}").json["result-text"] == "frobnicated"


def test_an_operation_whose_answer_was_lost_goes_again() -> None:
    """It reaches the client once, and its result counts, whatever number it went under."""
    wired = server()
    client = settled(wired, plugins=("frobnicate",))
    asked = operate(wired)
    lose(wired, client)
    lose(wired, client)
    meet(wired, client)
    (operation,) = client.disk.operations
    client.finish(operation, "late")
    meet(wired, client, 2)

    assert status(wired, asked) == "succeeded"
    assert len([message for message in client.received if message["type"] == "frobnicate"]) == 1


def test_a_client_that_died_before_committing_is_not_jammed() -> None:
    """It has noted the operation, not the number: the same id again would jam it for ever (L7), so it gets another."""
    wired = server()
    client = settled(wired, plugins=("frobnicate",))
    asked, behind = operate(wired), operate(wired, force=2)
    client.take(wired.send_octets(client.exchange()), die_in=0)
    assert set(client.disk.operations) == {asked}

    meet(wired, client)

    assert len(client.disk.operations) == 3
    for operation in sorted(client.disk.operations):
        client.finish(operation)
    meet(wired, client, 2)
    assert (status(wired, asked), status(wired, behind)) == ("succeeded", "succeeded")


def test_a_client_put_back_gets_no_id_that_it_may_have_noted() -> None:
    """Its counter is older than its notes, as after L4: what it has not acknowledged goes again, under new ids."""
    wired = server()
    client = settled(wired, plugins=("frobnicate",))
    first = operate(wired)
    meet(wired, client)
    client.finish(first)
    meet(wired, client)
    asked = operate(wired)
    client.take(wired.send_octets(client.exchange()), die_in=0)
    client.disk.next_expected -= 1
    meet(wired, client, 2)
    for operation in sorted(client.disk.operations):
        client.finish(operation)
    meet(wired, client, 2)

    assert (status(wired, first), status(wired, asked)) == ("succeeded", "succeeded")


def test_an_operation_with_a_known_result_does_not_go_again() -> None:
    """The client did it, said so, and died before it noted the number: something harmless takes the number."""
    wired = server()
    client = settled(wired, plugins=("frobnicate",))
    asked = operate(wired)
    behind = operate(wired, force=2)
    client.take(wired.send_octets(client.exchange()), die_in=0)
    client.finish(asked, "done before I died")
    heard = len(client.received)

    meet(wired, client, 2)

    assert status(wired, asked) == "succeeded"
    again = client.received[heard:]
    assert [message["type"] for message in again] == ["accepted-types", "frobnicate"]
    client.finish(again[1]["operation-id"])
    meet(wired, client)
    assert status(wired, behind) == "succeeded"


def test_no_id_is_ever_sent_twice_while_unanswered() -> None:
    """Over many lost answers and deaths, each id that the client sees is new, and every operation is answered."""
    wired = server()
    client = settled(wired, plugins=("frobnicate",))
    asked = []
    seen: list[int] = []
    for turn in range(12):
        asked.append(operate(wired, turn=turn))
        octets = wired.send_octets(client.exchange())
        seen += [m["operation-id"] for m in read_answer(octets)[1]["messages"] if "operation-id" in m]
        if turn % 3 == 1:
            client.take(octets, die_in=0)
        elif turn % 3 == 2:
            client.take(octets)
            for operation in list(client.disk.operations):
                client.finish(operation)
    meet(wired, client, 4)
    for operation in list(client.disk.operations):
        client.finish(operation)
    meet(wired, client, 3)

    assert len(seen) == len(set(seen))
    assert [status(wired, number) for number in asked] == ["succeeded"] * 12


def test_resynchronize_and_intervals() -> None:
    """The operator's requests reach it in a form that it survives, and it answers."""
    wired = server()
    client = settled(wired)
    reply = wired.api("POST", "/computers/1", {"action": "resynchronize", "scopes": ["disk"]})
    wired.api("POST", "/computers/1", {"action": "set-intervals", "exchange": 60, "ping": 10})
    meet(wired, client, 2)

    assert status(wired, reply.json["id"]) == "succeeded"
    assert client.intervals == {"exchange": 60, "ping": 10}


def test_attachment() -> None:
    """A script's file is fetched with the identity, under the path beside the exchange's."""
    wired = server()
    client = settled(wired, plugins=("execute-script",))
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/octet-stream"}
    wired.request("POST", "/api/v1/attachments", b"\0file\xff", headers)
    operate(wired, "execute-script", attachments={"tool": 1})
    meet(wired, client)

    assert client.take_attachment(wired.send_octets(client.attachment(1))) == b"\0file\xff"
    assert client.take_attachment(wired.send_octets(client.attachment(2))) is None


# identity


def test_clone() -> None:
    """Of two machines with one identity the second to speak is told, registers anew, and both go on apart."""
    wired = server()
    client = settled(wired)
    copy = snapshot(client)
    copy.title, copy.hostname = "copied", "copied"
    load(client, 1)
    meet(wired, client)
    load(copy, 2)
    meet(wired, copy, 4)
    load(client, 3)
    load(copy, 4)
    meet(wired, client, 2)
    meet(wired, copy, 2)

    assert copy.disk.secure_id not in (None, client.disk.secure_id)
    assert {"type": "unknown-id", "clone-of": "box-one"} in copy.received
    assert wired.api("GET", "/computers/2").json["clone-of"] == 1
    assert (numbers(wired, 1), numbers(wired, 2)) == ([1, 3], [4])


def test_the_word_registering_is_no_identity() -> None:
    """`landscape-config` leaves it in the place of the identity: it is answered with `unknown-id` (landscape 1.1)."""
    wired = server()
    client = LandscapeClient()
    client.disk.secure_id = b"registering"
    meet(wired, client, 5)

    assert client.received[0] == {"type": "unknown-id"}
    assert client.disk.secure_id not in (None, b"registering")


def test_a_server_that_forgot_everything() -> None:
    """A new database: the client registers again by itself and goes on."""
    client = settled(server())
    wired = server()
    meet(wired, client, 5)
    load(client, 1)
    meet(wired, client)

    assert numbers(wired) == [1]


@pytest.mark.parametrize("status_line", [b"503 Service Unavailable", b"204 No Content", b"302 Found"])
def test_failures_change_nothing(status_line: bytes) -> None:
    """A proxy that answers in the server's place costs an exchange and no message."""
    wired = server()
    client = settled(wired)
    load(client, 1)
    client.exchange()
    client.take(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status_line)
    meet(wired, client)

    assert numbers(wired) == [1]


# over a socket


@pytest.fixture
def real() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        process = Server(Path(folder), "load-average")
        process.start()
        yield process
        process.close()


def carry(process: Server, request: bytes) -> bytes:
    """As libcurl does: a connection per request, and a large body after the go-ahead (landscape 1.1)."""
    head, _, body = request.partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", process.port), timeout=120) as line:
        line.sendall(head + b"\r\n\r\n")
        answer = b""
        if b"Expect: 100-continue" in head:
            while b"\r\n\r\n" not in answer:
                answer += line.recv(65536)
            assert answer.startswith(b"HTTP/1.1 100 ")
        line.sendall(body)
        while not _is_whole(answer):
            answer += line.recv(65536)
    return answer


def _is_whole(answer: bytes) -> bool:
    head, _, rest = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        return _is_whole(rest)
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(length) and len(rest) >= int(length[0].split(b":")[1])


@pytest.mark.process
def test_all_of_it_over_sockets(real: Server) -> None:
    """Registration, a backlog, a large body, an operation, a ping, a server killed in between: nothing lost, nothing doubled."""
    client = LandscapeClient(plugins=("frobnicate",))

    def meet_it(times: int = 1) -> None:
        for _ in range(times):
            client.take(carry(real, client.exchange()))

    meet_it(4)
    load(client, *range(250))
    client.add("load-average", number=250, text="x" * 1_500_000)
    while client.pending:
        meet_it()
    load(client, 251)
    carry(real, client.exchange())
    real.kill()
    real.start()
    meet_it()
    real.operate("frobnicate")
    assert client.take_ping(carry(real, client.ping()))
    meet_it()
    (operation,) = client.disk.operations
    client.finish(operation)
    meet_it(2)

    assert [message["number"] for message in real.messages("load-average")] == list(range(252))
    assert real.outcomes() == ["succeeded"]
