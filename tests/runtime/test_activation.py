"""A socket of the service manager's is known by its name."""

import pytest

from fieldpost.runtime.activation import inherited_socket


@pytest.mark.parametrize(
    ("environ", "descriptor"),
    [
        ({"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "plugins"}, 3),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "other:plugins"}, 4),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "other"}, None),
        ({"LISTEN_PID": "8", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "plugins"}, None),
        ({"LISTEN_FDNAMES": "plugins"}, 3),
        ({}, None),
    ],
    ids=["ours", "second", "another name", "another process", "after Twisted", "none"],
)
def test_the_socket_is_found_by_name(environ: dict[str, str], descriptor: int | None) -> None:
    """What was passed to another process, or under another name, is left alone."""
    assert inherited_socket(environ, pid=7, name="plugins") == descriptor
