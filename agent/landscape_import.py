"""
The configuration of a landscape-client, as one of ours.

Its file is an INI file with the section `[client]`. Each of its options is either carried over or left out, and the notes say
which, and why: nothing that somebody once wrote there is dropped silently. What comes out is read by the rules of our own
configuration, option by option, so that it is right whatever was in the file.
"""

import configparser
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from ..runtime.settings import SettingsError, load_table
from ..wire.errors import FieldpostError
from .config import LANDSCAPE, AgentConfig

MAX_OCTETS = 1024 * 1024
"""A larger file is no configuration."""
SECTION = "client"
DEFAULT_URL = "https://landscape.canonical.com/message-system"
"""Where a landscape-client goes that is told nothing else (landscape 1.1)."""
Table = dict[str, dict[str, Any]]


class ImportFailed(FieldpostError):
    """A file that is no configuration of a landscape-client, or one that cannot be written."""


@frozen(kw_only=True)
class Note:
    """What became of one option."""

    option: str
    text: str
    is_carried: bool

    def __str__(self) -> str:
        return f"{self.option}: {'' if self.is_carried else 'left out: '}{self.text}"


@frozen(kw_only=True)
class Imported:
    """Our configuration, and what became of each option of theirs."""

    table: Table
    notes: tuple[Note, ...]

    def toml(self) -> str:
        """The file."""
        lines = [
            "# From the configuration of a landscape-client. `fieldpost config check` says whether it is right."
        ]
        for section, options in self.table.items():
            lines += ["", f"[{section}]", *(f"{name} = {_toml(value)}" for name, value in options.items())]
        return "\n".join(lines) + "\n"


def import_landscape(file: Path) -> Imported:
    """Raises ImportFailed."""
    return _Import(dict(_options(file))).result()


def write_new(file: Path, text: str) -> None:
    """
    Write a file that was not there, for its owner's eyes: there may be a key in it.

    Raises ImportFailed.
    """
    try:
        with open(
            os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as opened:
            opened.write(text)
    except FileExistsError:
        raise ImportFailed(f"{file} is there already; name another file, or put it aside first") from None
    except OSError as error:
        raise ImportFailed(f"{file} cannot be written: {(error.strerror or str(error)).lower()}") from None


# Reading theirs


def _options(file: Path) -> Iterator[tuple[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="")
    try:
        parser.read_string(_text(file), source=str(file))
    except configparser.Error as error:
        words = " ".join(str(error).split())
        raise ImportFailed(f"{file} is no INI file: {words[:300]}") from None
    if SECTION not in parser:
        raise ImportFailed(
            f"{file} has no section [{SECTION}]; name the file that landscape-client reads, /etc/landscape/client.conf"
        )
    for section in parser.sections():
        for name, value in parser[section].items():
            yield (name if section == SECTION else f"[{section}] {name}", _unquoted(value))


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            octets = opened.read(MAX_OCTETS + 1)
    except OSError as error:
        raise ImportFailed(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(octets) > MAX_OCTETS:
        raise ImportFailed(f"{file} is larger than {MAX_OCTETS} octets; that is no configuration")
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise ImportFailed(f"{file} is not UTF-8 at octet {error.start}; convert it first") from None


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if is_quoted else value.strip()


# Writing ours


class _Unfit(Exception):
    """A value that cannot be carried over; the text says why."""


def _as_text(value: str) -> Any:
    return value


def _as_seconds(value: str) -> Any:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise _Unfit(f"{value!r} is no whole number of seconds")
    return int(value)


def _as_tags(value: str) -> Any:
    return [tag.strip() for tag in value.split(",") if tag.strip()]


def _as_ca_file(value: str) -> Any:
    if value.startswith("base64:"):
        raise _Unfit(
            "it holds the certificate itself; write that to a file, and the file's name as `ca-file` into [server]"
        )
    return value


def _as_level(value: str) -> Any:
    levels = {
        "debug": "debug",
        "info": "info",
        "warning": "warn",
        "warn": "warn",
        "error": "error",
        "critical": "error",
    }
    if value.lower() not in levels:
        raise _Unfit(f"{value!r} is no level that there is here")
    return levels[value.lower()]


@frozen
class _Place:
    """Where an option of theirs goes, and how its value is written there."""

    section: str
    name: str
    convert: Callable[[str], Any] = field(default=_as_text)

    def __str__(self) -> str:
        return f"`{self.name}` in [{self.section}]"


_PLACES = {
    "url": _Place("server", "url"),
    "ping_url": _Place("server", "ping-url"),
    "account_name": _Place("server", "account-name"),
    "registration_key": _Place("server", "registration-key"),
    "computer_title": _Place("server", "computer-title"),
    "tags": _Place("server", "tags", _as_tags),
    "access_group": _Place("server", "access-group"),
    "ssl_public_key": _Place("server", "ca-file", _as_ca_file),
    "exchange_interval": _Place("exchange", "interval", _as_seconds),
    "urgent_exchange_interval": _Place("exchange", "urgent-interval", _as_seconds),
    "ping_interval": _Place("server", "ping-interval", _as_seconds),
    "log_level": _Place("log", "level", _as_level),
}
_PROXIES = {"https_proxy": "https", "http_proxy": "http"}
_PLUGINS = "plugins are chosen by their manifests, in the folder plugins.d beside the configuration"
_SCRIPTS = "scripts are the business of the plugin execute-script; see the [settings] of its manifest"
_LEFT_OUT = {
    "data_path": "the store is another one: `state-dir` in [broker] says where. The computer registers anew",
    "log_dir": "the log goes to the standard error, from there to the journal",
    "monitor_plugins": _PLUGINS,
    "manager_plugins": _PLUGINS,
    "include_manager_plugins": f"{_PLUGINS}; ScriptExecution is the plugin execute-script",
    "script_users": _SCRIPTS,
    "script_output_limit": _SCRIPTS,
    "script_tempdir": _SCRIPTS,
}
"""Options that have no place here, and what there is instead."""


class _Import:
    """One import; `result` is to be asked once."""

    def __init__(self, options: dict[str, str]) -> None:
        self._options = options
        self._table: Table = {"server": {"protocol": LANDSCAPE, "url": DEFAULT_URL}}
        self._notes: list[Note] = []

    def result(self) -> Imported:
        """All options, in the order of their file."""
        for name, value in self._options.items():
            if name in _PLACES:
                self._place(name, value, _PLACES[name])
            elif name not in _PROXIES:
                self._leave(name, _LEFT_OUT.get(name, "there is nothing like it here"))
        self._place_proxy()
        self._fit_intervals()
        if "url" not in self._options:
            self._note("url", f"it was not set; {DEFAULT_URL}, where landscape-client goes then, is written")
        return Imported(table=self._table, notes=tuple(self._notes))

    def _place(self, name: str, value: str, place: _Place) -> None:
        if not value:
            self._leave(name, "it is empty")
            return
        try:
            converted = place.convert(value)
            self._check(place, converted)
        except _Unfit as error:
            self._leave(name, str(error))
            return
        self._table.setdefault(place.section, {})[place.name] = converted
        self._note(name, f"carried over as {place}")

    def _check(self, place: _Place, value: Any) -> None:
        """As our configuration would, on its own."""
        table: Table = {"server": {"protocol": LANDSCAPE}}
        table.setdefault(place.section, {})[place.name] = value
        if place.section == "exchange":  # the two intervals limit each other; see _fit_intervals
            table["exchange"] = {"interval": value, "urgent-interval": value}
        try:
            load_table(table, AgentConfig, file=Path("/"))
        except SettingsError as error:
            raise _Unfit(f"`{place.name}` {error.problems[0].text}") from None

    def _place_proxy(self) -> None:
        """The one that the server is reached through; there is room for no other."""
        scheme = urlsplit(self._table["server"]["url"]).scheme
        for name in filter(_PROXIES.__contains__, self._options):
            if _PROXIES[name] == scheme:
                self._place(name, self._options[name], _Place("server", "proxy"))
            else:
                self._leave(name, f"the server is reached by {scheme}, which it is not for")

    def _fit_intervals(self) -> None:
        """Urgent exchanges come no later than others."""
        found = self._table.get("exchange", {})
        interval, urgent = found.get("interval", 900), found.get("urgent-interval", 60)
        if urgent > interval:
            found["urgent-interval"] = interval
            self._note("urgent_exchange_interval", f"lowered to {interval}, the interval of all exchanges")

    def _note(self, name: str, text: str) -> None:
        self._notes.append(Note(option=name, text=text, is_carried=True))

    def _leave(self, name: str, text: str) -> None:
        self._notes.append(Note(option=name, text=text, is_carried=False))


def _toml(value: Any) -> str:
    """Numbers, text and lists of text are written in TOML as in JSON, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
