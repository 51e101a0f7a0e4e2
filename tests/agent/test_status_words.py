"""The broker's status for people."""

from typing import Any

from fieldpost.agent.status_words import status_line, status_lines

FULL: dict[str, Any] = {
    "version": "1.2",
    "pid": 5,
    "server": {"url": "https://a/", "api": "3.3"},
    "registration": {"is-registered": True, "insecure-id": 9},
    "exchange": {
        "failing": False,
        "last": {"at": 0.0, "sent": 3, "received": 1, "pending": 0},
        "last-failure": {"at": 0.0, "cause": "gone"},
        "next-in": 12.4,
    },
    "store": {
        "pending": 1,
        "held": 2,
        "octets": 2048,
        "dead-letters": 0,
        "oldest-pending": None,
        "full": False,
        "quarantined": [],
    },
    "types": {"cpu-usage": {"stored": 4, "sent": 3}},
    "troubles": [],
}


def shown(**changed: Any) -> str:
    return "\n".join(status_lines({**FULL, **changed}))


def test_pings() -> None:
    """Where there are any."""
    assert "pings" not in shown()
    assert "every 30 s; none was answered yet" in shown(ping={"interval": 30.0, "at": None})
    assert "every 30 s; last answered 19" in shown(ping={"interval": 30.0, "at": 0.1})


def test_well() -> None:
    """A broker that is well says who it is, when it exchanged and what waits."""
    text = shown()

    for words in (
        "as computer 9",
        "3 sent, 1 received",
        "in 12 s",
        "1 pending, 2 held, 2.0 KiB",
        "4 stored, 3 sent",
    ):
        assert words in text
    for words in ("gone", "trouble", "dead", "oldest"):
        assert words not in text


def test_not_registered() -> None:
    """A broker that is not registered says why, and what to do."""
    found = {"is-registered": False, "cause": "no account", "next-step": "set one"}

    assert "not registered  no account; set one" in shown(registration=found)


def test_failing() -> None:
    """While exchanges fail, the cause stands there."""
    assert "gone" in shown(exchange={**FULL["exchange"], "failing": True})
    assert "none since the broker started" in shown(exchange={"last": None})


def test_troubles() -> None:
    """A full disk, damaged stores and dead letters are shown."""
    store = {
        **FULL["store"],
        "full": True,
        "quarantined": ["/x.broken"],
        "dead-letters": 3,
        "oldest-pending": 5,
    }
    text = shown(store=store, troubles=["no"])

    for words in ("the disk is full", "/x.broken", "3 dead letters", "oldest of 1970", "trouble"):
        assert words in text


def test_store_in_trouble() -> None:
    """A store that cannot be read says so."""
    assert "cannot be read: broken" in shown(store={"error": "broken"})


def test_other_version() -> None:
    """A status that lacks everything is still shown."""
    assert status_lines({})


def test_no_server() -> None:
    """A broker without a server says that none is configured."""
    assert "server          none is configured" in shown(
        server={"url": None, "api": "3.2"}, registration={"is-registered": False, "cause": "no account"}
    )


def test_one_line_without_a_server() -> None:
    """Nothing else matters before there is one."""
    line = status_line(
        {**FULL, "server": {"url": None}, "registration": {"is-registered": False, "cause": "no account"}}
    )

    assert line.startswith("no server is configured; write its address")
    assert "no account" not in line


def test_one_line() -> None:
    """For the service manager: what waits, and the last exchange."""
    line = status_line(FULL)

    assert line.startswith("1 pending, 2 held, 2.0 KiB; last exchange 1970-")
    assert line.endswith("3 sent, 1 received")


def test_one_line_of_trouble() -> None:
    """What is wrong comes first."""
    failing = {
        **FULL["exchange"],
        "failing": True,
        "last-failure": {"at": 0.0, "cause": "no server is configured"},
    }

    line = status_line({**FULL, "exchange": failing, "registration": {"is-registered": True}})

    assert "no server is configured; 1 pending" in line
    assert status_line({**FULL, "troubles": ["the disk is slow"]}).startswith("the disk is slow; 1 pending")


def test_the_session() -> None:
    """Which way exchanges go, why not over a session, and when that is tried again."""
    assert "session  " not in shown()
    assert "open for 312 s" in shown(session={"carrier": "session", "open-for": 312.4})
    text = shown(session={"carrier": "POST", "cause": "the server said no", "next-try-in": 240.0})
    assert "none, exchanges go by POST; the server said no; tried again in 240 s" in text
    under_way = {"carrier": "POST", "cause": "gone", "next-try-in": None, "state": "opening"}
    assert "none, exchanges go by POST; gone; being tried now" in shown(session=under_way)
    assert "none, exchanges go by POST\n" in shown(
        session={"carrier": "POST", "cause": None, "next-try-in": None}
    )
