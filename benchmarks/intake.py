"""
What the server takes in, durably: in one process, and as a process of its own over loopback HTTP and HTTPS.

    python benchmarks/intake.py [--quick] [--json]

Payloads of 1,000 messages of 300 octets, one after the other on a persistent connection, each answered after its sync;
plain sqlite3 stores the same octets by executemany, a synced commit per 1,000. "Small exchanges" bring one message
each, from 16 computers at once over HTTPS, as from a fleet at rest: they share commits. "Declared" messages are of a type
whose fields the server keeps in columns, eight of them; "bpickle" is Landscape's encoding.
"""

import argparse
import json
import os
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPSConnection
from ipaddress import IPv4Address
from pathlib import Path
from ssl import create_default_context
from statistics import median
from typing import Any

from report import Result, Target, show

BATCH = 1_000
OCTETS = 300
ROUNDS = 3
COMPUTERS = 16
TARGETS = {
    "in_process_per_second": Target(40_000),
    "https_per_second": Target(40_000),
    "bpickle_of_cbor_in_process": Target(0.6),
}
CBOR_TYPE = "application/cbor"
BPICKLE_TYPE = "application/octet-stream"
HEADERS = {"Content-Type": CBOR_TYPE, "Accept-Encoding": "gzip"}


def message(number: int) -> dict[str, Any]:
    """A message of OCTETS octets once encoded."""
    return {
        "type": "measured",
        "api": b"3.3",
        "timestamp": 1_700_000_000 + number,
        "points": [[300, 0.25], [600, 0.5]],
        "text": "x" * (OCTETS - 79),
    }


def payload(sequence: int, messages: list[dict[str, Any]], form: str = CBOR_TYPE) -> bytes:
    """The octets of an agent's payload."""
    from fieldpost.server.policy import Policy
    from fieldpost.wire.encoding import ENCODINGS

    return ENCODINGS[form].encode(
        {
            "accepted-types": Policy(accounts={}).accepted.digest,
            "messages": messages,
            "next-expected-sequence": 0,
            "sequence": sequence,
            "server-api": b"3.3",
            "total-messages": len(messages),
        }
    )


def registration(name: str) -> bytes:
    """The octets of a registering payload."""
    fields = {"account_name": "a", "registration_password": "key", "computer_title": name, "hostname": name}
    return payload(0, [{"type": "register", "registration-id": name, **fields}])


def secure_id_in(answer: bytes) -> str:
    """The identity that an answer to a registration brings."""
    from fieldpost.wire import cbor

    found: bytes = cbor.decode(answer)["messages"][0]["id"]
    return found.decode()


def bodies_of(messages: int, form: str = CBOR_TYPE, kind: str = "measured") -> list[bytes]:
    """Payloads of BATCH messages, numbered on from 1."""
    made = [{**message(number), "type": kind} for number in range(BATCH)]
    return [payload(1 + first, made, form) for first in range(0, messages, BATCH)]


# Plain sqlite3


def plain(folder: Path, messages: int) -> float:
    """Messages per second of executemany."""
    from fieldpost.wire import cbor

    rows = [(1, number, "measured", 5, 5.0, cbor.encode(message(number))) for number in range(BATCH)]
    connection = sqlite3.connect(folder / f"plain-{uuid.uuid4()}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE message (id INTEGER PRIMARY KEY, computer, number, type, timestamp, received, body)"
    )
    insert = (
        "INSERT INTO message (computer, number, type, timestamp, received, body) VALUES (?, ?, ?, ?, ?, ?)"
    )
    started = time.perf_counter()
    for _ in range(messages // BATCH):
        connection.execute("BEGIN")
        connection.executemany(insert, rows)
        connection.execute("COMMIT")
    taken = time.perf_counter() - started
    connection.close()
    return messages / taken


# In this process


def in_process(folder: Path, messages: int, form: str = CBOR_TYPE, kind: str = "measured") -> float:
    """Messages per second through the real routes, decoding and commit in one thread."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred, execute
    from twisted.web.http_headers import Headers

    from fieldpost.server.call import Answer, Call
    from fieldpost.server.composition import build_server, open_server_database
    from fieldpost.server.parcel import ParcelLimits
    from fieldpost.server.policy import Account, Policy

    class Inline:
        def run(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            return execute(function, *args, **kwargs)

    connection = open_server_database(str(folder / f"server-{uuid.uuid4()}.sqlite"))
    server = build_server(
        connection=connection,
        writer=Inline(),
        decoder=Inline(),
        clock=reactor,  # type: ignore[arg-type] # the module is the reactor
        policy=Policy(accounts={"a": Account(name="a", registration_key="key", auto_accept=True)}),
        api_token=None,
        new_id=lambda: str(uuid.uuid4()),
        new_token=lambda: secrets.token_hex(16).encode(),
        new_octets=secrets.token_bytes,
        limits=ParcelLimits(),
    )

    def exchange(body: bytes, form: str, secure_id: str | None = None) -> Answer:
        headers = Headers({"Content-Type": [form]})
        if secure_id:
            headers.addRawHeader("X-Computer-ID", secure_id)
        answers: list[Answer] = []
        call = Call(method="POST", path="/message-system", headers=headers, body=body)
        Deferred.fromCoroutine(server.front.answer(call)).addCallback(answers.append)
        assert answers[0].status == 200, answers[0]
        return answers[0]

    secure_id = secure_id_in(exchange(registration("local"), CBOR_TYPE).body)
    bodies = bodies_of(messages, form, kind)
    started = time.perf_counter()
    for body in bodies:
        exchange(body, form, secure_id)
    taken = time.perf_counter() - started
    connection.close()
    return messages / taken


# A process of its own


def run_server(config: str) -> None:
    """What twistd does with the service."""
    from twisted.internet import reactor

    from fieldpost.server.tap import Options, makeService

    options = Options()
    options.parseOptions(["--config", config])
    service = makeService(options)
    service.startService()
    running: Any = reactor
    running.addSystemEventTrigger("before", "shutdown", service.stopService)
    running.run()


@contextmanager
def server(folder: Path) -> Iterator[tuple[list[int], int]]:
    """A server process over HTTP and HTTPS: its two ports and its process id."""
    from fieldpost.agent.demo.certificates import make_certificates

    made = make_certificates(("localhost", IPv4Address("127.0.0.1")))
    for name, octets in (("ca", made.authority), ("cert", made.certificate), ("key", made.key)):
        (folder / f"{name}.pem").write_bytes(octets)
    tls = f"ssl:port=0:interface=127.0.0.1:privateKey={folder}/key.pem:certKey={folder}/cert.pem"
    config = folder / "server.toml"
    config.write_text(
        f'[server]\nstate-dir = "state"\nlisten = ["tcp:port=0:interface=127.0.0.1", "{tls}"]\n'
        '[account.a]\nregistration-key = "key"\nauto-accept = true\n'
    )
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(config)])
    ports = folder / "state" / "ports.json"
    try:
        while not ports.exists():
            assert process.poll() is None, "the server ended"
            time.sleep(0.02)
        yield [port["port"] for port in json.loads(ports.read_text())["ports"]], process.pid
    finally:
        process.terminate()
        process.wait()


def post(connection: HTTPConnection, body: bytes, secure_id: str | None = None) -> bytes:
    """One exchange on a connection that stays open."""
    identity = {"X-Computer-ID": secure_id} if secure_id else {}
    connection.request("POST", "/message-system", body, {**HEADERS, **identity})
    response = connection.getresponse()
    answer = response.read()
    assert response.status == 200, answer
    return answer


def drain(connection: HTTPConnection, name: str, messages: int) -> float:
    """Messages per second of a new computer with a backlog."""
    secure_id = secure_id_in(post(connection, registration(name)))
    bodies = bodies_of(messages)
    started = time.perf_counter()
    for body in bodies:
        post(connection, body, secure_id)
    return messages / (time.perf_counter() - started)


def small(connections: list[HTTPConnection], exchanges: int) -> float:
    """Exchanges of one message per second, each connection being a computer."""
    ids = [secure_id_in(post(connection, registration(uuid.uuid4().hex))) for connection in connections]
    each = exchanges // len(connections)
    bodies = [payload(sequence, [message(0)]) for sequence in range(1, each + 1)]

    def run(connection: HTTPConnection, secure_id: str) -> None:
        for body in bodies:
            post(connection, body, secure_id)

    started = time.perf_counter()
    with ThreadPoolExecutor(len(connections)) as pool:
        list(pool.map(run, connections, ids))
    return each * len(connections) / (time.perf_counter() - started)


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def over_network(folder: Path, messages: int, exchanges: int) -> dict[str, float]:
    """Figures of a server process."""
    with server(folder) as (ports, pid):
        context = create_default_context(cafile=str(folder / "ca.pem"))
        plain_connection = HTTPConnection("127.0.0.1", ports[0])
        secure = [HTTPSConnection("localhost", ports[1], context=context) for _ in range(COMPUTERS)]
        found = {"http_per_second": drain(plain_connection, uuid.uuid4().hex, messages)}
        before = cpu_seconds(pid)
        found["https_per_second"] = drain(secure[0], uuid.uuid4().hex, messages)
        found["https_server_cpu_us_per_message"] = 1e6 * (cpu_seconds(pid) - before) / messages
        found["https_small_exchanges_per_second"] = small(secure, exchanges)
        for connection in (plain_connection, *secure):
            connection.close()
    return found


def measure(*, quick: bool = False) -> Result:
    """Each figure is the median of its rounds."""
    messages, exchanges = (20_000, 320) if quick else (100_000, 3_200)
    rounds = []
    for _ in range(1 if quick else ROUNDS):
        with tempfile.TemporaryDirectory(prefix="fieldpost-bench-") as name:
            folder = Path(name)
            one = {
                "executemany_per_second": plain(folder, messages),
                "in_process_per_second": in_process(folder, messages),
                "declared_in_process_per_second": in_process(folder, messages, kind="computer-info"),
                "bpickle_in_process_per_second": in_process(folder, messages, BPICKLE_TYPE),
                **over_network(folder, messages, exchanges),
            }
            one["in_process_of_executemany"] = one["in_process_per_second"] / one["executemany_per_second"]
            one["bpickle_of_cbor_in_process"] = (
                one["bpickle_in_process_per_second"] / one["in_process_per_second"]
            )
            rounds.append(one)
    figures = {key: median(one[key] for one in rounds) for key in rounds[0]}
    return Result(name="intake", figures=figures, targets=TARGETS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a fifth of the work, once")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        run_server(options.serve)
    else:
        show([measure(quick=options.quick)], as_json=options.json)


if __name__ == "__main__":
    main()
