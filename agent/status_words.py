"""The broker's status in lines for people. A status of another version may lack anything: then that line is left out."""

from datetime import datetime
from typing import Any

from .demo_words import octets_in_words

Status = dict[str, Any]


def status_lines(status: Status) -> list[str]:
    """What matters first: is it registered, does it reach the server, what waits."""
    return [
        line
        for section in (_identity, _exchange, _store, _troubles, _plugins, _types)
        for line in section(status)
    ]


def _identity(status: Status) -> list[str]:
    identity = status.get("identity", {})
    if identity.get("registered"):
        return [f"registered      as computer {identity.get('insecure-id')}"]
    cause, step = identity.get("cause"), identity.get("next-step")
    return [f"not registered  {cause or 'no cause is known'}{f'; {step}' if step else ''}"]


def _exchange(status: Status) -> list[str]:
    found = status.get("exchange", {})
    lines = [f"server          {found['url']}"] if "url" in found else []
    if found.get("last-success") is not None:
        lines.append(f"last exchange   {_time(found['last-success'])}")
    else:
        lines.append("last exchange   none yet")
    if found.get("failure"):
        lines.append(f"failing         {found['failure']}")
    if found.get("next-in") is not None:
        lines.append(f"next exchange   in {found['next-in']:.0f} s")
    return lines


def _store(status: Status) -> list[str]:
    found = status.get("store")
    if not found:
        return []
    parts = [f"{found['pending']} pending", f"{found['held']} held", octets_in_words(found["octets"])]
    if found["dead-letters"]:
        parts.append(f"{found['dead-letters']} dead letters")
    if found["oldest-pending"] is not None:
        parts.append(f"oldest of {_time(found['oldest-pending'])}")
    return [f"store           {', '.join(parts)}"]


def _troubles(status: Status) -> list[str]:
    return [f"trouble         {trouble}" for trouble in status.get("troubles", ())]


def _plugins(status: Status) -> list[str]:
    names = status.get("plugins", ())
    return [f"plugins         {', '.join(names) or 'none is connected'}"]


def _types(status: Status) -> list[str]:
    return [
        f"  {kind:24} stored {found['stored']:>8}  sent {found['sent']:>8}"
        for kind, found in status.get("types", {}).items()
    ]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")
