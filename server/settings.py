"""The server's configuration file as values (conf/server.toml is a sample, docs/server.md explains each option)."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from attrs import Factory, evolve, frozen

from ..runtime.message_types import MessageOptions, catalogue_with, declarations_of
from ..runtime.secret import place_of, read_secret
from ..runtime.settings import OCTETS, SECONDS, load, option
from ..wire.declaration import Catalogue
from ..wire.http import MAX_EXCHANGE_OCTETS
from ..wire.message import TYPE_RULE, is_type
from .policy import BUNDLED_TYPES, CORE_TYPES, AcceptedTypes, Account, Policy


def _check_type(name: str) -> None:
    if not is_type(name):
        raise ValueError(f"must be {TYPE_RULE}")


def _check_secret(text: str) -> None:
    if not text or not text.isprintable():
        raise ValueError("must be printable text, at least one character")


def _check_address(text: str) -> None:
    if not re.match(r"https?://[!-~]+\Z", text):
        raise ValueError("must be a whole address such as https://other.example/session/default")


@frozen(kw_only=True)
class ServerSection:
    """Where the server lives and listens."""

    state_dir: Path = option(example="/var/lib/fieldpost-server")
    listen: tuple[str, ...] = option(example="tcp:port=8080:interface=127.0.0.1")
    api_token: str | None = option(default=None, check=_check_secret)
    api_token_file: Path | None = option(default=None)

    def __attrs_post_init__(self) -> None:
        if not self.listen:
            raise ValueError("`listen` must name at least one endpoint")
        if self.api_token is not None and self.api_token_file is not None:
            raise ValueError("give `api-token` or `api-token-file`, not both")


@frozen(kw_only=True)
class IntakeSection:
    """What is taken from agents."""

    accepted_types: tuple[str, ...] = option(default=BUNDLED_TYPES, check=_check_type)
    max_octets: int = option(default=MAX_EXCHANGE_OCTETS, unit=OCTETS, at_least=10_000, at_most=1_000_000_000)
    max_messages: int = option(default=10_000, at_least=1, at_most=1_000_000)


@frozen(kw_only=True)
class LimitsSection:
    """What clients may take of the server."""

    connections: int = option(default=5_000, at_least=1)
    connections_per_address: int = option(default=2_000, at_least=0)
    all_bodies: int = option(default=8 * MAX_EXCHANGE_OCTETS, unit=OCTETS, at_least=10_000)
    idle: float = option(default=60.0, unit=SECONDS, at_least=1)
    request: float = option(default=600.0, unit=SECONDS, at_least=1)


@frozen(kw_only=True)
class SessionSection:
    """How agents may keep a session."""

    enabled: bool = True
    certificate_file: Path | None = option(default=None)
    key_file: Path | None = option(default=None)
    client_ca_file: Path | None = option(default=None)
    plain: bool = False
    max_sessions: int = option(default=4_000, at_least=1)
    ping: float = option(default=25.0, unit=SECONDS, at_least=1, at_most=50)
    drain: float = option(default=5.0, unit=SECONDS, at_least=0, at_most=3600)
    moved: dict[str, str] = option(default=Factory(dict), check=_check_address)

    def __attrs_post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("give both of `certificate-file` and `key-file`, or neither")


@frozen(kw_only=True)
class AccountSection:
    """A door for new computers."""

    registration_key: str | None = option(default=None, check=_check_secret)
    registration_key_file: Path | None = option(default=None)
    auto_accept: bool = False
    max_pending: int = option(default=1_000, at_least=0)

    def __attrs_post_init__(self) -> None:
        if self.registration_key is not None and self.registration_key_file is not None:
            raise ValueError("give `registration-key` or `registration-key-file`, not both")
        if self.auto_accept and self.registration_key is None and self.registration_key_file is None:
            raise ValueError("`auto-accept` without a registration key would let anybody in; set a key")


@frozen(kw_only=True)
class ServerSettings:
    """All of the file."""

    server: ServerSection
    intake: IntakeSection = Factory(IntakeSection)
    limits: LimitsSection = Factory(LimitsSection)
    session: SessionSection = Factory(SessionSection)
    accounts: dict[str, AccountSection] = option(name="account", default=Factory(dict))
    messages: dict[str, MessageOptions] = Factory(dict)

    def __attrs_post_init__(self) -> None:
        if not self.accounts:
            raise ValueError("no computer could register: write an [account.NAME] section")
        if self.limits.all_bodies < self.intake.max_octets:
            raise ValueError("`limits.all-bodies` must be at least `intake.max-octets`")
        if self.session.client_ca_file is not None and not self._has_tls:
            raise ValueError(
                "`session.client-ca-file` goes with TLS of this server's: an `ssl:` endpoint in `listen`, or"
                " `session.certificate-file`; where a proxy ends TLS the server sees no client's certificate"
            )
        declarations_of(self.messages)

    @property
    def _has_tls(self) -> bool:
        """Whether TLS ends here, outside or inside sessions."""
        return self.session.certificate_file is not None or any(
            "ssl:" in words for words in self.server.listen
        )


def load_settings(path: Path) -> ServerSettings:
    """
    The settings of a file and of the drop-ins in `server.d` beside it (the file's name with `.d`).

    Raises SettingsError.
    """
    return load(path, ServerSettings, dropins=path.with_suffix(".d"))


def catalogue_of(settings: ServerSettings) -> Catalogue:
    """What messages look like: the built-in types and those that the settings declare."""
    return catalogue_with(declarations_of(settings.messages))


def policy_of(settings: ServerSettings) -> Policy:
    """
    The policy that the settings state, keys read from their files.

    Raises SettingsError.
    """
    accounts = {
        name: Account(
            name=name,
            registration_key=_secret(
                account.registration_key,
                account.registration_key_file,
                f"account.{name}.registration-key-file",
            ),
            auto_accept=account.auto_accept,
            max_pending=account.max_pending,
        )
        for name, account in settings.accounts.items()
    }
    return Policy(accounts=accounts, accepted=AcceptedTypes(CORE_TYPES + settings.intake.accepted_types))


def api_token_of(settings: ServerSettings) -> str | None:
    """
    The bearer token of the API; None when the API is closed.

    Raises SettingsError.
    """
    return _secret(settings.server.api_token, settings.server.api_token_file, "server.api-token-file")


def with_credentials(section: SessionSection, environ: Mapping[str, str]) -> SessionSection:
    """Each file of the section where it is to be read: a credential of its name takes the place of a missing one."""

    def found(file: Path | None) -> Path | None:
        return None if file is None else place_of(file, environ)

    return evolve(
        section,
        certificate_file=found(section.certificate_file),
        key_file=found(section.key_file),
        client_ca_file=found(section.client_ca_file),
    )


def _secret(given: str | None, file: Path | None, option: str) -> str | None:
    return given if file is None else read_secret(file, option=option, environ=os.environ)
