"""What a plugin's class says of itself, checked once before it is used."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from inspect import signature
from typing import Any

from attrs import frozen

from ..wire.errors import Malformed
from ..wire.local import (
    ACCEPTANCE_CHANGED,
    EXCHANGE_DONE,
    EXCHANGE_FAILED,
    IMPENDING_EXCHANGE,
    PRE_EXCHANGE,
    REGISTRATION_DONE,
    REGISTRATION_FAILED,
    RESYNCHRONIZE_CLIENTS,
    SERVER_UUID_CHANGED,
)
from ..wire.message import check_message
from .errors import PluginInvalid
from .plugin import HANDLED, Plugin

HOOKS: dict[str, tuple[str, tuple[str, ...]]] = {
    IMPENDING_EXCHANGE: ("on_impending_exchange", ()),
    PRE_EXCHANGE: ("on_pre_exchange", ()),
    EXCHANGE_DONE: ("on_exchange_done", ()),
    EXCHANGE_FAILED: ("on_exchange_failed", ()),
    RESYNCHRONIZE_CLIENTS: ("on_resynchronize", ("scopes",)),
    ACCEPTANCE_CHANGED: ("on_acceptance_changed", ("type", "accepted")),
    SERVER_UUID_CHANGED: ("on_server_uuid_changed", ("old", "new")),
    REGISTRATION_DONE: ("on_registration_done", ()),
    REGISTRATION_FAILED: ("on_registration_failed", ()),
}
"""Event of the broker: the plugin's method that hears of it, and the details that it is called with."""

_CALLED = {"on_start": (), "run": (), "reset": (), "on_stop": (), **dict(HOOKS.values())}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}", re.ASCII)


@frozen(kw_only=True)
class Declaration:
    """What a plugin is, does, sends and hears."""

    name: str
    sends: tuple[str, ...]
    handlers: dict[str, str]
    """Type of message: name of the method that takes it."""
    events: tuple[str, ...]
    """Events that it hears of."""


def declaration_of(kind: type[Plugin]) -> Declaration:
    """
    The declaration of a plugin's class.

    Raises PluginInvalid with everything that is wrong.
    """
    faults: list[str] = []
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        faults.append(f"`name` must be small letters, digits and dashes, a letter first, not {name!r}")
    faults += _faults_of_types(kind.sends)
    faults += _faults_of_methods(kind)
    faults += _faults_of_interval(kind)
    handlers = _handlers_of(kind, faults)
    if faults:
        raise PluginInvalid(f"{kind.__module__}.{kind.__qualname__} is no plugin: {'; '.join(faults)}")
    return Declaration(
        name=str(name),
        sends=tuple(kind.sends),
        handlers=handlers,
        events=tuple(event for event, (method, _) in HOOKS.items() if _overrides(kind, method)),
    )


def events_of(declarations: Iterable[Declaration]) -> tuple[str, ...]:
    """What a process must hear: what its plugins want to, and when sessions are dropped."""
    return tuple(sorted({RESYNCHRONIZE_CLIENTS, *(event for one in declarations for event in one.events)}))


def _overrides(kind: type[Plugin], method: str) -> bool:
    return getattr(kind, method) is not getattr(Plugin, method)


def _faults_of_types(types: Any) -> list[str]:
    """Of `sends`: whatever the author wrote there."""
    if not isinstance(types, tuple):
        return [f"`sends` must be a tuple of types, not {types!r}"]
    return [fault for kind in types for fault in _faults_of_type(kind)]


def _faults_of_type(kind: Any) -> list[str]:
    try:
        check_message({"type": kind})
    except Malformed as error:
        return [f"{kind!r}: {error}"]
    return []


def _faults_of_interval(kind: type[Plugin]) -> list[str]:
    interval = kind.interval
    if interval is not None and (type(interval) not in (int, float) or not 0 < interval < float("inf")):
        return [f"`interval` must be a number of seconds above 0, or None, not {interval!r}"]
    runs, called = _overrides(kind, "run"), interval is not None or kind.run_at_start
    if runs and not called:
        return ["`run` is never called: set `interval` or `run_at_start`"]
    if called and not runs:
        return ["`interval` and `run_at_start` need a method `run`"]
    return []


def _faults_of_methods(kind: type[Plugin]) -> list[str]:
    faults = []
    for name in dir(kind):
        if name.startswith("on_") and name not in _CALLED:
            near = get_close_matches(name, _CALLED, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(sorted(_CALLED))}"
            faults.append(f"`{name}` is never called; {hint}")
    for name, arguments in _CALLED.items():
        if not _takes(getattr(kind, name), len(arguments)):
            faults.append(f"`{name}` must take ({', '.join(('self', *arguments))})")
    return faults


def _takes(method: Any, count: int) -> bool:
    """Whether a method can be called with so many arguments beside self."""
    if not callable(method):
        return False
    try:
        signature(method).bind(*[None] * (count + 1))
    except TypeError:
        return False
    return True


def _handlers_of(kind: type[Plugin], faults: list[str]) -> dict[str, str]:
    handlers: dict[str, str] = {}
    for name in dir(kind):
        method = getattr(kind, name)
        types = getattr(method, HANDLED, None)
        if types is None:
            continue
        if not types:
            faults.append(f"`{name}` handles no type: write @handles('the-type')")
        if not _takes(method, 1):
            faults.append(f"`{name}` must take (self, message)")
        for handled in types:
            faults += _faults_of_type(handled)
            if handled in handlers:
                faults.append(f"`{name}` and `{handlers[handled]}` both handle {handled!r}")
            handlers[handled] = name
    return handlers
