"""Session ids: stamps that plugins put on what they tell, dropped when they must tell all afresh (landscape 1.11)."""

import sqlite3
from collections.abc import Callable

from ...wire.local import Refused

MAX_SESSIONS = 1_000
"""Scopes that one plugin may have open."""


def open_session_txn(
    txn: sqlite3.Connection, plugin: str, scope: str | None, new_id: Callable[[], str]
) -> str:
    """
    The session id of a plugin's scope: the one it has, or a new one.

    Raises Refused when the plugin has too many.
    """
    found = txn.execute(
        "SELECT session_id FROM session WHERE plugin = ? AND scope IS ?", (plugin, scope)
    ).fetchone()
    if found:
        return str(found[0])
    (count,) = txn.execute("SELECT count(*) FROM session WHERE plugin = ?", (plugin,)).fetchone()
    if count >= MAX_SESSIONS:
        raise Refused(f"plugin {plugin} has {count} scopes open; use fewer")
    session_id = new_id()
    txn.execute(
        "INSERT INTO session (plugin, scope, session_id) VALUES (?, ?, ?)", (plugin, scope, session_id)
    )
    return session_id


def has_session_txn(txn: sqlite3.Connection, plugin: str, session_id: str) -> bool:
    """Whether this stamp of this plugin is still good."""
    return (
        txn.execute(
            "SELECT 1 FROM session WHERE session_id = ? AND plugin = ?", (session_id, plugin)
        ).fetchone()
        is not None
    )


def drop_sessions_txn(txn: sqlite3.Connection, scopes: tuple[str, ...] | None) -> None:
    """Those of the scopes; all, when None."""
    if scopes is None:
        txn.execute("DELETE FROM session")
    else:
        txn.executemany("DELETE FROM session WHERE scope = ?", ((scope,) for scope in scopes))
