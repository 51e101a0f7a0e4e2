"""
A plugin process: one connection to the broker, and one or several plugins.

It is kept small, since there are several of them on every machine: see `lean`, which is to be called before this module
is imported.
"""

import time
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.logger import Logger

from ..plugins.connection import BrokerConnection
from ..plugins.context import Surroundings
from ..plugins.declaration import Declaration, declaration_of, events_of
from ..plugins.errors import PluginInvalid
from ..plugins.plugin import Plugin
from ..plugins.roster import Roster
from ..plugins.runner import Runner
from ..runtime.doors import returns_deferred
from ..wire.errors import FieldpostError
from .manifest import Manifest
from .threads import Threads

STOP_WITHIN = 5.0
"""Seconds that the plugins have for their end, and the broker for storing their last words: half of the supervisor's grace."""
EVERY_TYPE = "*"
"""In a manifest: all types but the broker's own."""

_log = Logger()


class PluginUnusable(FieldpostError):
    """A plugin that cannot be loaded as its manifest says, or a process without one that can."""


@frozen(kw_only=True)
class Loaded:
    """A plugin's class, checked against its manifest, and its settings."""

    kind: type[Plugin]
    declaration: Declaration
    settings: Any  # of the class that the plugin names as its Settings


def make_host(manifests: Sequence[Manifest], *, socket: Path, reactor: Any) -> "PluginHost":
    """
    The service of a process that runs these plugins, its parts put together.

    A plugin that cannot be used is logged, and the others run. Raises PluginUnusable when there is none that can.
    Any: Twisted has no one interface for time, UNIX sockets, threads and processes.
    """
    loaded = _load_all(manifests)
    random = Random()
    roster = Roster()
    connection = BrokerConnection(
        endpoint=UNIXClientEndpoint(reactor, str(socket)),
        clock=reactor,
        random=random,
        new_id=lambda: uuid4().hex,
        plugins=[plugin.declaration.name for plugin in loaded],
        events=events_of(plugin.declaration for plugin in loaded),
        on_deliver=roster.deliver,
        on_event=roster.event,
        on_welcome=roster.welcome,
    )
    surroundings = Surroundings(
        broker=connection,
        clock=reactor,
        now=time.time,
        random=random,
        in_thread=Threads(reactor=reactor).run,
        spawner=reactor,
    )
    for plugin in loaded:
        _enlist(plugin, roster, surroundings)
    if not len(roster):
        names = ", ".join(manifest.name for manifest in manifests) or "none is enabled"
        raise PluginUnusable(
            f"there is no plugin to run here ({names}); the log says what is wrong with each"
        )
    return PluginHost(connection=connection, roster=roster)


class PluginHost(Service):
    """Runs while the process does."""

    def __init__(self, *, connection: BrokerConnection, roster: Roster) -> None:
        self.roster = roster
        self.connection = connection

    def startService(self) -> None:
        """Start the plugins; the broker may come later."""
        super().startService()
        self.connection.start()
        self.roster.start()

    async def when_ready(self) -> None:
        """See Vital: plugins run before the broker is there."""

    async def vitals(self) -> str:
        """See Vital."""
        return "connected to the broker" if self.connection.is_connected else "waiting for the broker"

    @returns_deferred
    async def stopService(self) -> None:
        """Stop the plugins, once the broker has what they said, and hang up."""
        super().stopService()
        await self.roster.stop(STOP_WITHIN)
        await self.connection.stop()


def load_plugin(manifest: Manifest) -> Loaded:
    """
    The plugin that a manifest names.

    Raises PluginUnusable and SettingsError.
    """
    kind = _class_of(manifest)
    try:
        declaration = declaration_of(kind)
    except PluginInvalid as error:
        raise PluginUnusable(f"{manifest.file}: {error}") from None
    faults = [*_name_faults(manifest, declaration), *_grant_faults(manifest, declaration)]
    if faults:
        raise PluginUnusable(f"{manifest.file}: {'; '.join(faults)}")
    return Loaded(kind=kind, declaration=declaration, settings=manifest.settings_as(kind.Settings))


def _load_all(manifests: Iterable[Manifest]) -> list[Loaded]:
    loaded = []
    for manifest in manifests:
        try:
            loaded.append(load_plugin(manifest))
        except FieldpostError as error:
            _log.critical("plugin {plugin} is left out: {reason}", plugin=manifest.name, reason=str(error))
    if not loaded:
        names = ", ".join(manifest.name for manifest in manifests) or "none is enabled"
        raise PluginUnusable(
            f"there is no plugin to run here ({names}); the log says what is wrong with each"
        )
    return loaded


def _enlist(plugin: Loaded, roster: Roster, surroundings: Surroundings) -> None:
    try:
        roster.add(Runner(plugin.kind, settings=plugin.settings, surroundings=surroundings))
    except Exception:  # noqa: BLE001 - a plugin may raise anything
        _log.failure("plugin {plugin} is left out: it could not be made", plugin=plugin.declaration.name)


def _class_of(manifest: Manifest) -> type[Plugin]:
    path, _, name = manifest.module.partition(":")
    try:
        found = getattr(import_module(path), name, None)
    except ImportError as error:
        hint = (
            "install it"
            if error.name and not path.startswith(error.name)
            else "correct `module`, or install it"
        )
        raise PluginUnusable(f"{manifest.file}: {path} cannot be imported: {error}; {hint}") from error
    except Exception as error:
        raise PluginUnusable(f"{manifest.file}: {path} fails when it is imported: {error!r}") from error
    if not isinstance(found, type) or not issubclass(found, Plugin):
        what = "no class" if not isinstance(found, type) else "no subclass of fieldpost.plugins.Plugin"
        raise PluginUnusable(f"{manifest.file}: {name} in {path} is {what}; correct `module`")
    return found


def _name_faults(manifest: Manifest, declaration: Declaration) -> list[str]:
    if declaration.name == manifest.name:
        return []
    return [f"the plugin calls itself `{declaration.name}`; call the file {declaration.name}.toml"]


def _grant_faults(manifest: Manifest, declaration: Declaration) -> list[str]:
    faults = []
    for word, needed, granted in (
        ("sends", declaration.sends, manifest.sends),
        ("handles", tuple(declaration.handlers), manifest.handles),
    ):
        missing = [kind for kind in needed if kind not in granted]
        if missing and EVERY_TYPE not in granted:
            faults.append(f"`{word}` must grant {', '.join(missing)}")
    return faults
