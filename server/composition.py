"""The server's parts put together: the one place where they are chosen, whatever carries the requests."""

from collections.abc import Callable
from importlib.resources import files
from sqlite3 import Connection

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from ..runtime.database import open_database, transaction
from ..runtime.session.topics import Topics
from ..runtime.writer import Writer
from ..wire.catalogue.from_agents import AGENT_MESSAGES
from ..wire.declaration import Catalogue
from ..wire.http import EXCHANGE_PATH, MAX_EXCHANGE_OCTETS
from ..wire.session.identity import INCARNATION_OCTETS
from ..wire.session.limits import Limits
from .api import Api
from .commits import Commits
from .exchange import Exchange
from .files import Files
from .front import Front, Route
from .intake import Intake
from .outgoing import Window
from .parcel import ParcelLimits
from .ping import PING_PATH, Ping
from .policy import Policy
from .queries import bearer_guard
from .session.bulletin import Bulletin
from .session.console import Console
from .session.notices import Notices, Watch
from .session.output import Outputs
from .session.post import PostedSessions
from .session.records import all_twins_txn
from .session.registry import Registry
from .session.room import Room
from .session.visit import Desk
from .typed import Typed

APPLICATION_ID = 0x46507365
"""Marks our files: `FPse`."""


_WINDOW = Window()


@frozen(kw_only=True)
class Server:
    """What answers calls, and the door to its database."""

    front: Front
    commits: Commits
    exchange: Exchange
    registry: Registry
    outputs: Outputs
    desk: Desk
    """What sessions need."""
    uuid: str


def open_server_database(path: str) -> Connection:
    """
    The server's database, made or brought up to date.

    Raises DatabaseError.
    """
    return open_database(path, files(__package__) / "schema", application_id=APPLICATION_ID)


def build_server(
    *,
    connection: Connection,
    writer: Writer,
    decoder: Writer,
    clock: IReactorTime,
    policy: Policy,
    api_token: str | None,
    new_id: Callable[[], str],
    new_token: Callable[[], bytes],
    limits: ParcelLimits,
    new_octets: Callable[[int], bytes],
    window: Window = _WINDOW,
    catalogue: Catalogue = AGENT_MESSAGES,
    takes_sessions: bool = True,
    payload_octets: int = 8 * MAX_EXCHANGE_OCTETS,
) -> Server:
    """
    Join the parts.

    `writer` owns the connection from now on; `decoder` runs what takes time and needs no database; `new_octets` draws so
    many random ones; `takes_sessions` is what is told to those who come by POST; of payloads that come in sessions
    `payload_octets` may be worked on at once. Raises DatabaseError.
    """
    uuid, commits = _own_uuid(connection, new_id), Commits(connection=connection, writer=writer)
    exchange = Exchange(policy=policy, uuid=uuid, new_id=new_id, new_token=new_token, window=window)
    typed = _prepared(connection, catalogue)
    intake = Intake(
        exchange=exchange, commits=commits, decoder=decoder, clock=clock, limits=limits, typed=typed
    )
    incarnation, twins = new_octets(INCARNATION_OCTETS), all_twins_txn(connection)
    registry = Registry(commits=commits, clock=clock, incarnation=incarnation, twins=twins)
    topics, watch = Topics(clock=clock), Watch.begin(connection)
    notices = Notices(commits=commits, watch=watch, topics=topics, present=registry)
    bulletin, outputs = Bulletin(clock=clock, topics=topics, registry=registry), Outputs(clock=clock)
    api = Api(commits=commits, renderer=decoder, clock=clock, presence=registry, typed=typed)
    console = Console(commits=commits, registry=registry, outputs=outputs, bulletin=bulletin, clock=clock)
    desk = Desk(
        uuid=uuid,
        commits=commits,
        intake=intake,
        registry=registry,
        topics=topics,
        notices=notices,
        bulletin=bulletin,
        new_octets=new_octets,
        room=Room(payload_octets),
    )
    posted = PostedSessions(desk=desk, clock=clock, limits=Limits(data=limits.octets), upgrade=takes_sessions)
    guard, attached = bearer_guard(api_token), Files(commits=commits, clock=clock)
    asked = [*api.routes(guard), *console.routes(guard), *attached.routes(guard)]
    return Server(
        front=Front([*_agents_routes(intake, commits), *asked, *posted.routes()]),
        commits=commits,
        exchange=exchange,
        registry=registry,
        outputs=outputs,
        desk=desk,
        uuid=uuid,
    )


def _agents_routes(intake: Intake, commits: Commits) -> list[Route]:
    """Where agents come without a session."""
    ping = Ping(commits=commits)
    return [Route("POST", EXCHANGE_PATH, intake.answer), Route("POST", PING_PATH, ping.answer)]


def _prepared(connection: Connection, catalogue: Catalogue) -> Typed:
    """The columns of what is declared, made ready."""
    typed = Typed(catalogue)
    with transaction(connection) as txn:
        typed.prepare_txn(txn)
    return typed


def _own_uuid(connection: Connection, new_id: Callable[[], str]) -> str:
    """The server's uuid, chosen when the database is new."""
    with transaction(connection) as txn:
        txn.execute("INSERT OR IGNORE INTO server (id, uuid) VALUES (1, ?)", (new_id(),))
        found: str = txn.execute("SELECT uuid FROM server").fetchone()[0]
    return found
