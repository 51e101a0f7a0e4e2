"""docs/session-protocol.md says what the code does."""

import re
from pathlib import Path

from fieldpost.wire.session.frame import FrameType
from fieldpost.wire.session.hello import CAPABILITIES, CODECS, LIMIT_NAMES
from fieldpost.wire.session.limits import Limits
from fieldpost.wire.session.opening import MAX_HEAD_LINES, MAX_HEAD_OCTETS, PRODUCT, REFUSAL_TYPE, TLS_TOKEN
from fieldpost.wire.session.post import MEDIA_TYPE

PAGE = (Path(__file__).parents[3] / "docs" / "session-protocol.md").read_text()


def number(octets: int) -> str:
    return f"{octets:,} " if octets % 2**20 else f"{octets // 2**20} MiB"


def test_frame_types() -> None:
    """Each type with its number and name, and no other."""
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", PAGE, re.MULTILINE)

    assert {int(value): name for value, name in rows} == {kind.value: kind.name.lower() for kind in FrameType}


def test_limits() -> None:
    """Each limit that a hello names, with what holds unless told otherwise."""
    limits = Limits()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE.partition("## Limits")[2], re.MULTILINE))

    assert [name for name in LIMIT_NAMES if not rows[name].startswith(number(getattr(limits, name)))] == []


def test_words() -> None:
    """Tokens, media types, capabilities and codecs."""
    words = (PRODUCT, TLS_TOKEN, MEDIA_TYPE, REFUSAL_TYPE.partition(";")[0], *CAPABILITIES, *CODECS)

    assert [word for word in words if word not in PAGE] == []
    assert f"{MAX_HEAD_OCTETS:,} octets and {MAX_HEAD_LINES} lines" in PAGE
