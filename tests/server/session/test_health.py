"""Whoever looks after the server may ask how it is, on the port of the sessions and without one."""

import pytest
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs

from tests.server.session.visiting import LOCAL, Hosting
from tests.server.wired import read_reply


@pytest.mark.conformance("Z29")
def test_a_health_question_needs_no_handshake() -> None:
    """Ours is HTTP's: `GET /healthz` in one line is answered once, the connection ends, and nobody's log has a complaint."""
    hosting = Hosting()
    door, transport = hosting.doors.buildProtocol(LOCAL), StringTransport(peerAddress=LOCAL)
    door.makeConnection(transport)

    with capturedLogs() as events:
        door.dataReceived(b"GET /healthz HTTP/1.0\r\n\r\n")
        hosting.run()

    reply = read_reply(transport.value())
    assert (reply.status, reply.json) == (200, {"status": "ok"})
    assert transport.disconnecting
    assert not hosting.endpoint
    assert not [event for event in events if event["log_level"] >= LogLevel.warn]
