"""Where there is no server, each exchange says so."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.broker.carriage.transport import Nowhere, Request, Unreachable
from fieldpost.wire.api import OLDEST_SERVER_API
from fieldpost.wire.digest import types_digest
from fieldpost.wire.payload import ClientPayload


class NowhereTests(SynchronousTestCase):
    """What is stored waits; nothing is lost."""

    def test_exchange(self) -> None:
        """The reason is the one that was given."""
        payload = ClientPayload(
            accepted_types=types_digest(()),
            messages=(),
            next_expected_sequence=0,
            sequence=0,
            server_api=OLDEST_SERVER_API,
            total_messages=0,
        )
        nowhere = Nowhere("no server is configured")

        reply = self.successResultOf(
            Deferred.fromCoroutine(nowhere.exchange(Request(payload=payload, secure_id=None, token=None)))
        )

        assert reply == Unreachable(reason="no server is configured")
        assert self.successResultOf(Deferred.fromCoroutine(nowhere.stop())) is None
