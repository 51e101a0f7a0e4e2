"""The twistd entry of the server: `twistd -n fieldpost-server --config /etc/fieldpost/server.toml`."""

import os
from functools import partial
from pathlib import Path
from typing import ClassVar

from twisted.application.service import IService
from twisted.python import usage

from ..runtime.doors import keep_steady_time
from ..runtime.settings import SettingsError
from .listeners import Listeners, Prepare
from .service import ServerService
from .session.certificate import ask_for_certificates
from .settings import ServerSettings, api_token_of, load_settings, policy_of, with_credentials

DEFAULT_CONFIG = "/etc/fieldpost/server.toml"


class Options(usage.Options):
    """The command line after `fieldpost-server`."""

    synopsis = "[options]"
    optParameters: ClassVar = [
        [
            "config",
            "c",
            DEFAULT_CONFIG,
            "Configuration file; the folder NAME.d beside NAME.toml holds drop-ins.",
        ]
    ]


def makeService(options: usage.Options) -> IService:
    """
    The server that a configuration describes.

    Raises SystemExit with what is wrong with the configuration, line by line.
    """
    from twisted.internet import reactor

    keep_steady_time(reactor)
    try:
        settings = load_settings(Path(options["config"]))
        policy, api_token = policy_of(settings), api_token_of(settings)
    except SettingsError as error:
        raise SystemExit(f"fieldpost-server: the configuration cannot be used\n{error}") from None
    listeners = Listeners(
        reactor=reactor,
        endpoints=settings.server.listen,
        state_dir=settings.server.state_dir,
        prepare=_asking(settings),
    )
    service: IService = ServerService(
        reactor=reactor, settings=settings, policy=policy, api_token=api_token, listeners=listeners
    )
    return service


def _asking(settings: ServerSettings) -> Prepare | None:
    """What lets clients show certificates where TLS is outside; None when the settings name no authority for them."""
    chosen = with_credentials(settings.session, os.environ)
    if not chosen.enabled or chosen.client_ca_file is None:
        return None
    return partial(ask_for_certificates, client_ca=chosen.client_ca_file)
