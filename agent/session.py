"""The broker's parts that belong to the session, put together."""

import os
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any
from urllib.parse import quote

from attrs import frozen

from .. import __version__
from ..broker.bus import Bus
from ..broker.carriage.address import Address
from ..broker.carriage.post import Poster
from ..broker.carriage.proxy import Proxies
from ..broker.carriage.trust import Trust
from ..broker.local.plugin_link import Links
from ..broker.output import Outputs
from ..broker.session.answers import ServersRequests
from ..broker.session.course import FIRST_SPREAD, Course
from ..broker.session.keeper import Identity, Keeper
from ..broker.session.opener import Opener
from ..broker.session.poll import Poll, poll_path
from ..broker.session.transport import Fallback, SessionTransport
from ..broker.session.waking import Waking
from ..broker.store.store import Store
from ..broker.timetable import Timetable
from ..broker.topics import TopicRelay
from ..runtime.session.subscriptions import Subscriptions
from ..runtime.writer import Writer
from ..wire.local import EXCHANGE_DONE, REGISTRATION_DONE
from ..wire.session.identity import INCARNATION_OCTETS
from ..wire.session.opening import DEFAULT_SERVER
from .config import LANDSCAPE, OFF, PLAIN, AgentConfig, Server


@frozen(kw_only=True)
class Local:
    """What a session has to do with plugins, whether there is one or not."""

    subscriptions: Subscriptions
    topics: TopicRelay
    outputs: Outputs
    links: Links


def local_parts(reactor: Any) -> Local:
    """Any: Twisted has no one interface for a reactor."""
    subscriptions = Subscriptions(clock=reactor)
    return Local(
        subscriptions=subscriptions,
        topics=TopicRelay(upstream=subscriptions.subscribe),
        outputs=Outputs(clock=reactor),
        links=Links(),
    )


def wants_session(config: AgentConfig) -> bool:
    """Whether one is to be had."""
    server = config.server
    return server.url is not None and server.session != OFF and server.protocol != LANDSCAPE


@frozen(kw_only=True)
class Live:
    """The session, and what stands in for its notifications where there is none."""

    keeper: Keeper
    poll: Poll


def make_session(
    config: AgentConfig,
    reactor: Any,  # of which Twisted has no one interface
    *,
    trust: Trust,
    store: Store,
    writer: Writer,
    bus: Bus,
    timetable: Timetable,
    local: Local,
    log_lines: Callable[[int], Sequence[str]],
    poster: Poster,
) -> Live:
    """
    What keeps the session; it looks at each exchange's end whether the machine is still called the same.

    `poster` is for questions that are held back long, and for nothing else.
    """
    server = config.server
    assert server.url is not None  # see wants_session

    async def identity() -> Identity:
        state = await writer.run(store.state)
        return Identity(secure_id=state.secure_id, insecure_id=state.insecure_id)

    requests = ServersRequests(
        ask=timetable.ask, links=local.links, outputs=local.outputs, log_lines=log_lines
    )
    random, incarnation = Random(), os.urandom(INCARNATION_OCTETS)
    keeper = Keeper(
        opener=_opener(server, reactor, trust, server.url),
        course=Course(random=random, first_spread=min(FIRST_SPREAD, config.exchange.urgent_interval)),
        clock=reactor,
        random=random,
        identity=identity,
        handlers=requests.handlers,
        subscriptions=local.subscriptions,
        incarnation=incarnation,
        new_octets=os.urandom,
        wanted=server.server_id,
        on_live=timetable.set_live,
        on_change=lambda: poll.look(),
    )
    poll = Poll(
        poster=poster,
        path=poll_path(Address.of_server(server.url)),
        sessions=keeper,
        subscriptions=local.subscriptions,
        identity=identity,
        clock=reactor,
        random=random,
        incarnation=incarnation,
        new_octets=os.urandom,
        within=max(1.0, server.stall_timeout - 10.0),
    )
    Waking(subscriptions=local.subscriptions, timetable=timetable)
    for event in (EXCHANGE_DONE, REGISTRATION_DONE):
        bus.listen(event, lambda _: keeper.check_identity())
    return Live(keeper=keeper, poll=poll)


def _opener(server: Server, reactor: Any, trust: Trust, url: str) -> Opener:
    """Any: as above."""
    return Opener(
        url=url,
        server=quote(server.server_id or DEFAULT_SERVER, safe=":"),
        reactor=reactor,
        now=time.time,
        trust=trust,
        proxies=Proxies.chosen(proxy=server.proxy, no_proxy=server.no_proxy, environ=os.environ),
        user_agent=f"fieldpost/{__version__}",
        connect_within=server.connect_timeout,
        is_plain=server.session == PLAIN,
    )


def over_session(
    config: AgentConfig, reactor: Any, *, keeper: Keeper, fallback: Fallback, worker: Writer
) -> SessionTransport:
    """Exchanges over the session, and by POST without one. Any: as above."""
    return SessionTransport(
        sessions=keeper,
        fallback=fallback,
        worker=worker,
        clock=reactor,
        within=config.server.timeout,
        max_answer_octets=config.server.max_answer_octets,
    )
