"""
The broker's parts, put together.

This is the composition root of the broker's process: nowhere else are concrete parts chosen.
"""

import os
import socket
import time
from collections.abc import Callable, Iterable
from math import inf
from random import Random
from typing import Any
from uuid import uuid4

from attrs import frozen

from .. import __version__
from ..broker.attachments import Attachments, folder_of
from ..broker.backoff import Backoff
from ..broker.bus import Bus
from ..broker.carriage.address import Address
from ..broker.carriage.http import LANDSCAPE as IN_LANDSCAPES_MANNER
from ..broker.carriage.http import HttpTransport
from ..broker.carriage.landscape import LandscapeTransport
from ..broker.carriage.line import Timeouts
from ..broker.carriage.post import Poster
from ..broker.carriage.proxy import Proxies
from ..broker.carriage.transport import Nowhere, Transport
from ..broker.carriage.trust import Trust
from ..broker.delivery import Delivery
from ..broker.exchange import Exchange, ExchangeLimits
from ..broker.handlers import Handlers
from ..broker.handover import HandoverLimits
from ..broker.local.grants import Grants
from ..broker.local.intake import Intake
from ..broker.local.plugin_link import Broker, Links
from ..broker.local.plugin_socket import PluginSocket
from ..broker.ping import MAX_ANSWER_OCTETS as MAX_PING_OCTETS
from ..broker.ping import Ping
from ..broker.reactions import Reactions
from ..broker.registration import Account, Registration
from ..broker.schedule import Intervals, Schedule
from ..broker.session.poll import MAX_ANSWER_OCTETS as MAX_POLLED_OCTETS
from ..broker.session.transport import SessionTransport
from ..broker.status import Record, Status
from ..broker.store.records import StoreLimits
from ..broker.timetable import Timetable
from ..runtime.activation import inherited_socket
from ..runtime.secret import place_of
from ..runtime.settings import SettingsError
from ..runtime.toml_source import Problem
from ..runtime.writer import WriterThread
from ..wire.local import MAX_ATTACHMENT_OCTETS
from .config import LANDSCAPE, AgentConfig, Server, registration_key
from .landscape import MAX_MESSAGES as LANDSCAPE_MESSAGES
from .landscape import USER_AGENT as LANDSCAPE_USER_AGENT
from .landscape import container_kind, ping_address
from .logs import RecentLines
from .manifest import Manifest, catalogue_of
from .report import Report
from .rights import grants_of
from .session import Live, Local, local_parts, make_session, over_session, wants_session
from .tally import TalliedStore

NO_SERVER = "no server is configured; write its address as `url` into [server] of the agent's configuration"
SOCKET_NAME = "plugins"
"""FileDescriptorName= of a plugin socket that the service manager listens on for us."""
Way = HttpTransport | LandscapeTransport | Nowhere | SessionTransport
"""How exchanges go."""


@frozen(kw_only=True)
class Parts:
    """What is started, stopped and asked."""

    store: TalliedStore
    writer: WriterThread
    packer: WriterThread
    exchange: Exchange
    plugins: PluginSocket
    transport: Way
    live: Live | None
    recent: RecentLines
    ping: Ping | None
    report: Report
    attachments: Attachments


@frozen(kw_only=True)
class _Ground:
    """What most parts stand on."""

    config: AgentConfig
    reactor: Any  # of which Twisted has no one interface
    store: TalliedStore
    writer: WriterThread
    bus: Bus
    handlers: Handlers
    record: Record
    timetable: Timetable


def assemble(config: AgentConfig, manifests: tuple[Manifest, ...], reactor: Any) -> Parts:
    """
    All parts, each given what it needs. The store is opened; nothing else happens yet.

    Raises FieldpostError. What only the configuration can spoil comes first.
    """
    grants = grants_of(manifests, own_uid=os.geteuid())
    account = account_of(config)
    packer = WriterThread(reactor=reactor, name="packer")
    trust = _trust(config)
    transport = _transport(config, reactor, packer, trust)
    ground = _ground(config, reactor)
    local, recent = local_parts(reactor), RecentLines()
    live = _live(ground, packer, trust, local, recent)
    if live is not None:
        transport = over_session(config, reactor, keeper=live.keeper, fallback=transport, worker=packer)
    registration = _registration(ground, account)
    delivery = _delivery(ground)
    exchange = _exchange(ground, transport, delivery)
    status = _status(ground, registration, delivery)
    intake = Intake(
        store=ground.store,
        writer=ground.writer,
        clock=reactor,
        now=time.time,
        catalogue=catalogue_of(manifests),
    )
    ping = _ping(ground, packer, trust)
    report = Report(
        config=config,
        status=status,
        store=ground.store,
        writer=ground.writer,
        intake=intake,
        ping=ping,
        session=None if live is None else live.keeper.report,
    )
    attachments = _attachments(ground, packer, trust)
    broker = _broker(ground, grants, delivery, intake, report, local, attachments)
    plugins = _plugin_socket(ground, broker, local.links, is_open=_has_foreign_users(manifests))
    return Parts(
        store=ground.store,
        writer=ground.writer,
        packer=packer,
        exchange=exchange,
        plugins=plugins,
        transport=transport,
        live=live,
        recent=recent,
        ping=ping,
        report=report,
        attachments=attachments,
    )


def _transport(config: AgentConfig, reactor: Any, packer: WriterThread, trust: Trust) -> Way:
    """Without a session."""
    server = config.server
    if server.url is None:
        return Nowhere(NO_SERVER)
    poster = _poster(config, reactor, packer, trust, Address.of_server(server.url))
    if server.protocol == LANDSCAPE:
        http = HttpTransport(poster=poster, worker=packer, now=time.time, manner=IN_LANDSCAPES_MANNER)
        return LandscapeTransport(http=http)
    return HttpTransport(poster=poster, worker=packer, now=time.time)


def _poster(
    config: AgentConfig,
    reactor: Any,
    packer: WriterThread,
    trust: Trust,
    address: Address,
    *,
    at_most: float = inf,
) -> Poster:
    """`at_most`: octets of an answer, where that is less than what is configured."""
    server = config.server
    own_name = f"fieldpost/{__version__}"
    return Poster(
        address=address,
        reactor=reactor,
        worker=packer,
        trust=trust,
        proxies=Proxies.chosen(proxy=server.proxy, no_proxy=server.no_proxy, environ=os.environ),
        max_answer_octets=int(min(server.max_answer_octets, at_most)),
        user_agent=LANDSCAPE_USER_AGENT if server.protocol == LANDSCAPE else own_name,
        timeouts=Timeouts(connect=server.connect_timeout, stall=server.stall_timeout, total=server.timeout),
    )


def _ping(ground: _Ground, packer: WriterThread, trust: Trust) -> Ping | None:
    """Of Landscape's protocol alone."""
    server = ground.config.server
    address = ping_address(server)
    if server.protocol != LANDSCAPE or address is None:
        return None
    return Ping(
        poster=_poster(ground.config, ground.reactor, packer, trust, address, at_most=MAX_PING_OCTETS),
        store=ground.store,
        writer=ground.writer,
        bus=ground.bus,
        ask=ground.timetable.ask,
        clock=ground.reactor,
        now=time.time,
        random=Random(),
        interval=server.ping_interval,
    )


def _attachments(ground: _Ground, packer: WriterThread, trust: Trust) -> Attachments:
    """By a connection of their own."""
    url = ground.config.server.url
    address = None if url is None else Address.of_server(url)
    return Attachments(
        poster=None
        if address is None
        else _poster(ground.config, ground.reactor, packer, trust, address, at_most=MAX_ATTACHMENT_OCTETS),
        folder="" if address is None else folder_of(address),
        store=ground.store,
        writer=ground.writer,
        worker=packer,
    )


def _live(
    ground: _Ground, packer: WriterThread, trust: Trust, local: Local, recent: RecentLines
) -> Live | None:
    """None where no session is wanted."""
    url = ground.config.server.url
    if url is None or not wants_session(ground.config):
        return None
    return make_session(
        ground.config,
        ground.reactor,
        trust=trust,
        store=ground.store,
        writer=ground.writer,
        bus=ground.bus,
        timetable=ground.timetable,
        local=local,
        log_lines=recent.last,
        poster=_poster(
            ground.config,
            ground.reactor,
            packer,
            trust,
            Address.of_server(url),
            at_most=MAX_POLLED_OCTETS,
        ),
    )


def _ground(config: AgentConfig, reactor: Any) -> _Ground:
    bus = Bus()
    return _Ground(
        config=config,
        reactor=reactor,
        store=open_store(config, now=time.time),
        writer=WriterThread(reactor=reactor, name="store"),
        bus=bus,
        handlers=Handlers(),
        record=Record(),
        timetable=Timetable(clock=reactor, schedule=schedule_of(config, Random()), bus=bus),
    )


def _registration(ground: _Ground, account: Account | None) -> Registration:
    """With the broker's own reactions, of which it is one half."""
    registration = Registration(
        account=account,
        store=ground.store,
        writer=ground.writer,
        bus=ground.bus,
        ask=ground.timetable.ask,
    )
    Reactions(
        handlers=ground.handlers,
        store=ground.store,
        writer=ground.writer,
        bus=ground.bus,
        timetable=ground.timetable,
        registration=registration,
    )
    return registration


def _delivery(ground: _Ground) -> Delivery:
    return Delivery(
        store=ground.store,
        writer=ground.writer,
        bus=ground.bus,
        handlers=ground.handlers,
        clock=ground.reactor,
        ask=ground.timetable.ask,
        record=ground.record,
        limits=HandoverLimits(grace=ground.config.exchange.handler_grace),
    )


def _exchange(ground: _Ground, transport: Transport, delivery: Delivery) -> Exchange:
    limits = ground.config.exchange
    is_landscape = ground.config.server.protocol == LANDSCAPE
    return Exchange(
        store=ground.store,
        writer=ground.writer,
        transport=transport,
        bus=ground.bus,
        handlers=ground.handlers,
        delivery=delivery,
        timetable=ground.timetable,
        record=ground.record,
        clock=ground.reactor,
        now=time.time,
        limits=ExchangeLimits(
            messages=min(limits.max_messages, LANDSCAPE_MESSAGES) if is_landscape else limits.max_messages,
            octets=limits.max_octets,
        ),
    )


def _status(ground: _Ground, registration: Registration, delivery: Delivery) -> Status:
    return Status(
        store=ground.store,
        writer=ground.writer,
        registration=registration,
        timetable=ground.timetable,
        record=ground.record,
        waiting=lambda: delivery.waiting,
    )


def _broker(
    ground: _Ground,
    grants: Grants,
    delivery: Delivery,
    intake: Intake,
    report: Report,
    local: Local,
    attachments: Attachments,
) -> Broker:
    """What plugins may ask of the broker."""
    return Broker(
        store=ground.store,
        writer=ground.writer,
        intake=intake,
        grants=grants,
        deliveries=delivery,
        events=ground.bus,
        exchanges=ground.timetable,
        topics=local.topics,
        outputs=local.outputs,
        attachments=attachments,
        status=report.report,
        clock=ground.reactor,
    )


def _plugin_socket(ground: _Ground, broker: Broker, links: Links, *, is_open: bool) -> PluginSocket:
    """Open: for users other than our own."""
    return PluginSocket(
        reactor=ground.reactor,
        broker=broker,
        path=str(ground.config.broker.socket),
        mode=0o666 if is_open else 0o600,
        folder_mode=0o755 if is_open else 0o700,
        inherited=inherited_socket(os.environ, pid=os.getpid(), name=SOCKET_NAME),
        links=links,
    )


def open_store(config: AgentConfig, *, now: Callable[[], float]) -> TalliedStore:
    """
    The store in the state folder, which is made when it is missing.

    Raises SettingsError for a folder that cannot be made, DatabaseError for a store that cannot be used.
    """
    folder = config.broker.state_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        text = f"the state folder cannot be made: {reason}; make it for the broker's user, or set `state-dir` in [broker]"
        raise SettingsError([Problem(file=folder, text=text)]) from None
    limits = StoreLimits(
        max_octets=config.store.max_octets,
        max_age=config.store.max_age,
        reserve_octets=config.store.reserve_octets,
    )
    store = TalliedStore.open(str(config.broker.store), limits=limits, new_id=lambda: str(uuid4()), now=now)
    assert isinstance(store, TalliedStore)  # `open` makes what it is called on
    store.speak_landscape(config.server.protocol == LANDSCAPE)
    return store


def schedule_of(config: AgentConfig, random: Random) -> Schedule:
    """When to exchange."""
    found = config.exchange
    intervals = Intervals(normal=found.interval, urgent=found.urgent_interval, drain=found.drain_interval)
    backoff = Backoff(base=found.backoff_base, cap=found.backoff_cap, random=random)
    return Schedule(intervals=intervals, backoff=backoff, random=random)


def account_of(config: AgentConfig) -> Account | None:
    """
    What to register with; None when no account is configured.

    Raises SettingsError.
    """
    server = config.server
    if server.account_name is None:
        return None
    return Account(
        account_name=server.account_name,
        computer_title=config.computer_title,
        hostname=socket.gethostname(),
        registration_password=registration_key(server, os.environ),
        tags=",".join(server.tags) or None,
        access_group=server.access_group,
        container_info=container_kind() if server.protocol == LANDSCAPE else "",
    )


def _has_foreign_users(manifests: Iterable[Manifest]) -> bool:
    """
    Whether plugins run as users of their own.

    Who connects is known by the kernel's word; so the socket may be as open as they need it.
    """
    return any(manifest.enabled and manifest.user is not None for manifest in manifests)


def _trust(config: AgentConfig) -> Trust:
    """Whom to believe, and whom to say that we are."""
    trust = _believing(config)
    server = config.server
    if server.certificate_file is not None and server.key_file is not None:
        trust.show(
            certificate=str(place_of(server.certificate_file, os.environ)),
            key=str(place_of(server.key_file, os.environ)),
            to=_hosts_of(server),
        )
    return trust


def _hosts_of(server: Server) -> set[str]:
    """All that the settings name."""
    addresses = [None if server.url is None else Address.of_server(server.url), ping_address(server)]
    return {address.host for address in addresses if address is not None}


def _believing(config: AgentConfig) -> Trust:
    if config.server.ca_file is not None:
        return Trust.in_file(str(place_of(config.server.ca_file, os.environ)))
    return Trust.in_system(environ=os.environ)
