"""The bundled monitors' messages in a few words for people."""

from collections.abc import Callable
from typing import Any

from ...wire.message import FAILED, OPERATION_RESULT, SUCCEEDED

MAX_CHARACTERS = 100

_COLUMNS = ("type", "api", "timestamp")

Body = dict[str, Any]
"""A message as the server's API shows it."""


def in_words(body: Body) -> str:
    """The latest figures of a message; for one that we do not know, its fields."""
    word = _WORDS.get(str(body.get("type")), _fields)
    try:
        text = word(body)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        text = _fields(body)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 1] + "…"


def octets_in_words(octets: float) -> str:
    """With the unit that leaves one to four digits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if octets < 1000:
            return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1024
    return f"{octets:.1f} TiB"


def _mib(count: float) -> str:
    return octets_in_words(count * 1024 * 1024)


def _computer_info(body: Body) -> str:
    return f"{body['hostname']}: {_mib(body['total-memory'])} memory, {body.get('distribution', 'unknown system')}"


def _cpu_usage(body: Body) -> str:
    return f"{body['cpu-usages'][-1][1]:.1%} busy"


def _memory_info(body: Body) -> str:
    _, memory, swap = body["memory-info"][-1]
    return f"{_mib(memory)} memory free, {_mib(swap)} swap free"


def _mount_info(body: Body) -> str:
    mounts = [mount for _, mount in body["mount-info"]]
    first = mounts[0]
    more = f", and {len(mounts) - 1} more" if mounts[1:] else ""
    return f"{first['mount-point']}: {first['filesystem']} of {_mib(first['total-space'])}{more}"


def _free_space(body: Body) -> str:
    latest = {mount: free for _, mount, free in body["free-space"]}
    return ", ".join(f"{mount}: {_mib(free)} free" for mount, free in latest.items())


def _network_activity(body: Body) -> str:
    latest = {name: steps[-1][1:3] for name, steps in body["activities"].items() if steps}
    busy = {name: octets for name, octets in latest.items() if any(octets)} or latest
    return ", ".join(
        f"{name}: {octets_in_words(received)} in, {octets_in_words(sent)} out"
        for name, (received, sent) in busy.items()
    )


def _operation_result(body: Body) -> str:
    how = {SUCCEEDED: "succeeded", FAILED: "failed"}.get(body["status"], f"status {body['status']}")
    return f"operation {body['operation-id']} {how}: {body.get('result-text') or ''}"


_WORDS: dict[str, Callable[[Body], str]] = {
    "computer-info": _computer_info,
    "cpu-usage": _cpu_usage,
    "memory-info": _memory_info,
    "mount-info": _mount_info,
    "free-space": _free_space,
    "network-activity": _network_activity,
    OPERATION_RESULT: _operation_result,
}


def _fields(body: Body) -> str:
    return ", ".join(f"{key}: {value}" for key, value in body.items() if key not in _COLUMNS)
