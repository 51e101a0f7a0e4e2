"""
What a fuzzer drives: each target takes any octets, and fails only for a fault of ours.

A target is a plain function. `run.py` puts one under a coverage-guided fuzzer, and the tests beside it replay what that has found.
"""

from collections.abc import Callable, Iterable

from fieldpost.wire.cbor import Limits as ValueLimits
from fieldpost.wire.errors import Malformed, RemoteProtocolError, TooLarge
from fieldpost.wire.session.decision import read_decision
from fieldpost.wire.session.frame import Frame, Framer, FrameTooLarge, encode_frame
from fieldpost.wire.session.hello import read_hello
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.opening import (
    Head,
    HeadReader,
    Moved,
    Moves,
    Trail,
    judge_answer,
    judge_request,
)
from fieldpost.wire.session.values import DEFAULT, HG, Codec, RowReader

from .ends import drive_pair, drive_reactor, drive_session
from .script import Script

Target = Callable[[bytes], None]
VALUE_LIMITS = ValueLimits(octets=1_000, depth=8, items=100)


def framer(octets: bytes) -> None:
    """The same frames come out however their octets are cut, and their octets are those that came in."""
    script = Script(octets)
    limit = script.number(2)
    body = script.rest()
    cut = list(Script(body).pieces())
    whole = _frames(Framer(limit), [b"".join(cut)])

    assert _frames(Framer(limit), cut) == whole
    assert b"".join(cut).startswith(b"".join(map(encode_frame, whole)))


def _frames(framer: Framer, pieces: Iterable[bytes]) -> list[Frame]:
    found = []
    for piece in pieces:
        try:
            found += framer.feed(piece)
        except FrameTooLarge as error:
            return found + error.frames
    framer.end()
    return found


def rows(octets: bytes) -> None:
    """The same values come out however their octets are cut, up to a fault, and what is held keeps its limit."""
    script = Script(octets)
    codec = script.choice((DEFAULT, HG))
    cut = list(script.pieces())
    whole, is_good = _values(codec, [b"".join(cut)])
    cut_up, is_good_cut_up = _values(codec, cut)

    assert is_good == is_good_cut_up
    assert repr(cut_up[: len(whole)]) == repr(whole)


def _values(codec: Codec, pieces: Iterable[bytes]) -> tuple[list[object], bool]:
    reader, found = RowReader(codec, VALUE_LIMITS), []
    for piece in pieces:
        try:
            found += reader.feed(piece)
        except (Malformed, TooLarge):
            return found, False
        assert reader.held <= VALUE_LIMITS.octets + 8
    reader.end()
    return found, True


def maps(octets: bytes) -> None:
    """A hello or a decision is read, or refused in words."""
    script = Script(octets)
    read = script.choice([read_hello, read_decision])
    try:
        read(DEFAULT.decode(script.rest(), VALUE_LIMITS))
    except RemoteProtocolError as error:
        assert str(error)


def opening(octets: bytes) -> None:
    """A head is a request, an answer, or refused; redirects end."""
    script = Script(octets)
    inside = bool(script.number() & 1)
    reader = HeadReader()
    for piece in script.pieces():
        try:
            head = reader.feed(piece)
        except (Malformed, TooLarge):
            return
        if head is not None:
            _judge(head, inside=inside, left=reader.left)
            return


def _judge(head: Head, *, inside: bool, left: bytes) -> None:
    answered = judge_request(head, is_served=lambda id: id == "me", inside=inside, left=left)
    assert answered.octets.startswith(b"HTTP/1.1 ")
    outcome = judge_answer(head, inside=inside, left=left)
    if isinstance(outcome, Moved):
        _follow(outcome)


def _follow(moved: Moved) -> None:
    moves = Moves()
    for url in ("https://here.example/session/default", "http://here.example:8080/session/a"):
        trail = Trail(url, moves)
        hops = 0
        while True:
            try:
                trail.follow(moved)
            except RemoteProtocolError:
                break
            hops += 1
            assert hops <= 5


def reactor_client(octets: bytes) -> None:
    """A client's reactor keeps the rules of `ends`, whatever comes."""
    drive_reactor(octets, Role.CLIENT)


def reactor_server(octets: bytes) -> None:
    """A server's reactor does."""
    drive_reactor(octets, Role.SERVER)


def session_client(octets: bytes) -> None:
    """A client's session does, hello and decision included."""
    drive_session(octets, Role.CLIENT)


def session_server(octets: bytes) -> None:
    """A server's session does."""
    drive_session(octets, Role.SERVER)


def pair(octets: bytes) -> None:
    """Two sessions of ours never find fault with each other."""
    drive_pair(octets)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        framer,
        rows,
        maps,
        opening,
        reactor_client,
        reactor_server,
        session_client,
        session_server,
        pair,
    )
}
