"""The broker's status in lines for people. A status of another version may lack anything: then that line is left out."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from .demo.words import octets_in_words

Status = dict[str, Any]


def status_lines(status: Status) -> list[str]:
    """What matters first: is it registered, does it reach the server, what waits."""
    sections = (_who, _registration, _session, _exchange, _pings, _store, _troubles, _types)
    lines = [line for section in sections for line in section(status)]
    width = max(len(label) for label, _ in lines)
    return [f"{label:{width}}  {words}" for label, words in lines]


def status_line(status: Status) -> str:
    """The same in one line, for the service manager: the first thing that is wrong, else what was done last."""
    first = [
        label_and_words
        for section in (_troubles, _serverless, _unregistered, _exchange)
        for label_and_words in section(status)
    ]
    urgent = [words for label, words in first if label in _URGENT]
    waiting = ", ".join(words for _, words in _store(status))
    return "; ".join([*urgent[:1], waiting, *(f"{label} {words}" for label, words in first if label == LAST)])


LAST = "last exchange"
_URGENT = ("trouble", "waiting", "failing", "not registered")


def _serverless(status: Status) -> "Lines":
    if status.get("server", {}).get("url", "unknown") is None:
        yield (
            "waiting",
            "no server is configured; write its address as `url` into [server] of the configuration",
        )


def _unregistered(status: Status) -> "Lines":
    return (line for line in _registration(status) if line[0] in _URGENT)


Lines = Iterator[tuple[str, str]]
"""Labels and words."""


def _who(status: Status) -> Lines:
    yield "broker", f"version {status.get('version')}, process {status.get('pid')}"
    server = status.get("server", {})
    if "url" in server:
        place = server["url"] or "none is configured"
        yield "server", f"{place}, API {server.get('api', 'unknown')}"


def _registration(status: Status) -> Lines:
    found = status.get("registration", {})
    if found.get("is-registered"):
        yield "registered", f"as computer {found.get('insecure-id')}"
    elif found:
        yield "not registered", "; ".join(filter(None, (found.get("cause"), found.get("next-step"))))


def _session(status: Status) -> Lines:
    found = status.get("session", {})
    if found.get("carrier") == "session":
        yield "session", f"open for {found.get('open-for') or 0:.0f} s"
    elif found:
        words = ["none, exchanges go by POST", *filter(None, (found.get("cause"),))]
        if found.get("next-try-in") is not None:
            words.append(f"tried again in {found['next-try-in']:.0f} s")
        elif found.get("state") == "opening":
            words.append("being tried now")
        yield "session", "; ".join(words)


def _exchange(status: Status) -> Lines:
    found = status.get("exchange", {})
    last, failure = found.get("last"), found.get("last-failure")
    if last:
        yield LAST, f"{_time(last['at'])}: {last['sent']} sent, {last['received']} received"
    else:
        yield LAST, "none since the broker started"
    if found.get("failing") and failure:
        yield "failing", f"{_time(failure['at'])}: {failure['cause']}"
    if found.get("next-in") is not None:
        yield "next exchange", f"in {found['next-in']:.0f} s"


def _pings(status: Status) -> Lines:
    found = status.get("ping")
    if found:
        last = f"last answered {_time(found['at'])}" if found.get("at") else "none was answered yet"
        yield "pings", f"every {found['interval']:.0f} s; {last}"


def _store(status: Status) -> Lines:
    found = status.get("store", {})
    if "pending" not in found:
        yield "store", f"cannot be read: {found.get('error', 'no cause is known')}"
        return
    parts = [f"{found['pending']} pending", f"{found['held']} held", octets_in_words(found["octets"])]
    if found["dead-letters"]:
        parts.append(f"{found['dead-letters']} dead letters")
    if found["oldest-pending"] is not None:
        parts.append(f"oldest of {_time(found['oldest-pending'])}")
    yield "store", ", ".join(parts)


def _troubles(status: Status) -> Lines:
    if status.get("store", {}).get("full"):
        yield "trouble", "the disk is full: plugins' messages are not taken until it has room"
    for file in status.get("store", {}).get("quarantined", ()):
        yield "trouble", f"a damaged store was put aside as {file}; delete it when it is of no more use"
    for trouble in status.get("troubles", ()):
        yield "trouble", trouble


def _types(status: Status) -> Lines:
    for kind, found in status.get("types", {}).items():
        yield kind, f"{found['stored']} stored, {found['sent']} sent"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")
