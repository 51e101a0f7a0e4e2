"""
A broker's store and plugin socket in a process of their own, to be killed by tests.

    python broker_process.py FOLDER

It says `ready` when it listens.
"""

import os
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor

from fieldpost.broker.attachments import AttachmentFailed
from fieldpost.broker.bus import Bus
from fieldpost.broker.local.grants import Grant, Grants
from fieldpost.broker.local.intake import Intake
from fieldpost.broker.local.plugin_link import Broker
from fieldpost.broker.local.plugin_socket import PluginSocket
from fieldpost.broker.output import Outputs
from fieldpost.broker.store.records import StoreLimits
from fieldpost.broker.store.store import Store
from fieldpost.broker.topics import Silence, TopicRelay
from fieldpost.runtime.writer import WriterThread


class Nobody:
    """Parts of the broker that are not there."""

    def register(self, *_: object) -> Callable[[], None]:
        return lambda: None

    def request(self, *, at_once: bool) -> None:
        """No exchange."""

    async def fetch(self, id: int) -> bytes:
        raise AttachmentFailed(f"there is no attachment {id}")


def main(folder: str, clock: Any) -> None:
    store = Store.open(
        os.path.join(folder, "store.db"),
        limits=StoreLimits(reserve_octets=0),
        new_id=lambda: str(uuid.uuid4()),
        now=time.time,
    )
    writer = WriterThread(reactor=clock, name="store")

    async def status() -> dict[str, Any]:
        return {}

    broker = Broker(
        store=store,
        writer=writer,
        intake=Intake(store=store, writer=writer, clock=clock, now=time.time),
        grants=Grants(
            [Grant(name="load", uids=frozenset({os.getuid()}), sends=frozenset({"load"}))], operators=()
        ),
        deliveries=Nobody(),
        events=Bus(),
        exchanges=Nobody(),
        topics=TopicRelay(upstream=Silence()),
        outputs=Outputs(clock=clock),
        attachments=Nobody(),
        status=status,
        clock=clock,
    )
    PluginSocket(reactor=clock, broker=broker, path=os.path.join(folder, "broker.sock")).startService()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    clock.run()


if __name__ == "__main__":
    main(sys.argv[1], reactor)
