"""
Manifests: which plugins run here, in which process, as which user, and what they may do.

Each plugin has a file of its own, `NAME.toml`, in one folder. The broker takes from it what the plugin may send and
handle and who may speak for it; the supervisor takes which processes to start; the host takes the module to load and
the plugin's settings. So a plugin gets no right by its own code.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import Factory, field, frozen

from ..runtime.message_types import MessageOptions, catalogue_with, declarations_of
from ..runtime.settings import SettingsError, load, option
from ..runtime.toml_source import Problem, Source
from ..wire.declaration import Catalogue, Declaration

T = TypeVar("T")

NAME = re.compile(r"[a-z][a-z0-9-]{0,63}", re.ASCII)
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_EVERY_TYPE = "*"
_WORDS = "small letters, digits and dashes, a letter first"


def _check_module(value: str) -> None:
    if not _MODULE.fullmatch(value):
        raise ValueError('must be module and class, such as "fieldpost.plugins.cpu_usage:CpuUsage"')


def _check_name(value: str) -> None:
    if not NAME.fullmatch(value):
        raise ValueError(f"must be {_WORDS}")


@frozen(kw_only=True)
class _Options:
    """What a manifest may say, but for the settings."""

    module: str = option(check=_check_module, example='"fieldpost.plugins.cpu_usage:CpuUsage"')
    enabled: bool = True
    host: str | None = option(default=None, check=_check_name)
    user: str | None = None
    sends: tuple[str, ...] = ()
    handles: tuple[str, ...] = ()
    subscribes: tuple[str, ...] = ()
    messages: dict[str, MessageOptions] = Factory(dict)

    def __attrs_post_init__(self) -> None:
        declarations_of(self.messages)
        for kind in self.messages:
            if kind not in self.sends and _EVERY_TYPE not in self.sends:
                raise ValueError(f"it declares `{kind}` and may not send it; name it under `sends`")


@frozen(kw_only=True)
class _File(_Options):
    """A manifest as it is read when its plugin's class is not known."""

    settings: dict[str, Any] = Factory(dict)  # Any: the plugin's own, checked when it is loaded


@frozen(kw_only=True)
class Manifest:
    """One plugin, as its file says."""

    name: str
    file: Path
    module: str
    """Module and class, `package.module:Class`."""
    enabled: bool = True
    host: str
    """Plugins of the same host share a process; by default each has its own."""
    user: str | None = None
    """The user to run as; None for the supervisor's."""
    sends: tuple[str, ...] = ()
    """Types that it may send; `*` for all that are not the broker's own."""
    handles: tuple[str, ...] = ()
    """Types of the server's messages that it may take; `*` likewise."""
    declarations: tuple[Declaration, ...] = ()
    """What the messages of its own types look like."""
    subscribes: tuple[str, ...] = ()
    """Topics of the server's notifications that it may hear; `*` for all."""
    settings: dict[str, Any] = field(factory=dict, repr=False)

    @classmethod
    def read(cls, file: Path) -> "Manifest":
        """
        The manifest in a file.

        Raises SettingsError.
        """
        found = load(file, _File)
        if not NAME.fullmatch(file.stem):
            raise SettingsError(
                [Problem(file=file, text=f"the file's name is the plugin's: it must be {_WORDS}")]
            )
        return cls(
            name=file.stem,
            file=file,
            module=found.module,
            enabled=found.enabled,
            host=found.host or file.stem,
            user=found.user,
            sends=found.sends,
            handles=found.handles,
            subscribes=found.subscribes,
            declarations=declarations_of(found.messages),
            settings=found.settings,
        )

    def settings_as(self, kind: type[T]) -> T:
        """
        The plugin's settings, as the class that it names.

        Raises SettingsError, with file and line.
        """

        @frozen(kw_only=True)
        class Whole(_Options):
            settings: kind  # type: ignore[valid-type]

        found: T = load(self.file, Whole).settings
        return found


def load_manifests(folder: Path) -> tuple[Manifest, ...]:
    """
    All manifests of a folder, by name; also those that are not enabled.

    Raises SettingsError with everything that is wrong in any of them.
    """
    found: list[Manifest] = []
    problems: list[Problem] = []
    for file in _files(folder):
        try:
            found.append(Manifest.read(file))
        except SettingsError as error:
            problems += error.problems
    problems += _conflicts(found)
    problems += _declared_twice(found)
    if problems:
        raise SettingsError(problems)
    return tuple(found)


def catalogue_of(manifests: Iterable[Manifest]) -> Catalogue:
    """What the messages look like that plugins here may send: the built-in types and those of the manifests."""
    return catalogue_with(tuple(one for manifest in manifests for one in manifest.declarations))


def hosts_of(manifests: Iterable[Manifest]) -> dict[str, tuple[Manifest, ...]]:
    """The enabled plugins by the process that they run in."""
    hosts: dict[str, tuple[Manifest, ...]] = {}
    for manifest in manifests:
        if manifest.enabled:
            hosts[manifest.host] = (*hosts.get(manifest.host, ()), manifest)
    return hosts


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.name.endswith(".toml"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        text = f"the folder of plugin manifests cannot be read: {reason}; set `manifests` in [plugins]"
        raise SettingsError([Problem(file=folder, text=text)]) from None


def _conflicts(manifests: Sequence[Manifest]) -> list[Problem]:
    """One process has one user."""
    problems: list[Problem] = []
    for host, members in hosts_of(manifests).items():
        for other in members[1:]:
            if other.user != members[0].user:
                text = (
                    f"it shares the process `{host}` with {members[0].file.name}, which has another `user`; give both "
                    "the same user, or this one a `host` of its own"
                )
                problems.append(Problem(file=other.file, line=_line(other.file), option="user", text=text))
    return problems


def _declared_twice(manifests: Sequence[Manifest]) -> list[Problem]:
    """One type has one declaration; plugins that share a type leave it to one of them."""
    problems: list[Problem] = []
    owners: dict[str, Manifest] = {}
    for manifest in manifests:
        for declaration in manifest.declarations:
            owner = owners.setdefault(declaration.type, manifest)
            if owner is not manifest:
                text = f"{owner.file.name} declares it already; keep one of the two"
                option = f"messages.{declaration.type}"
                problems.append(Problem(file=manifest.file, option=option, text=text))
    return problems


def _line(file: Path) -> int | None:
    return Source.read(file).line_of(("user",))
