"""The captured requests, sent by the model that sends just these octets, served by our server, taken by the model."""

from collections.abc import Callable

import pytest

from tests.landscape.client_model import LandscapeClient
from tests.landscape.test_client_model import REQUESTS, captured, registering
from tests.server.test_landscape import STATES, registered
from tests.server.wired import WiredServer


@pytest.mark.parametrize("name", REQUESTS)
def test_the_real_octets_are_answered_so_that_the_client_goes_on(name: str) -> None:
    """The model is where the real client was when it sent them; it takes the answer and two more, and keeps nothing back."""
    wired, client = STATES[name](), REQUESTS[name]()

    request = client.exchange()
    client.take(wired.send_octets(request))
    for _ in range(3):
        client.take(wired.send_octets(client.exchange()))

    assert request == captured(name)
    assert client.disk.secure_id is not None
    assert client.disk.accepted == sorted(client.disk.accepted)
    assert not client.pending


def story(first: WiredServer, client: LandscapeClient, *steps: Callable[[], object]) -> None:
    for step in steps:
        step()
        client.take(first.send_octets(client.exchange()))


def test_the_captures_in_a_row() -> None:
    """From the second capture on one client lives on: registered, idle, a batch, a result."""
    wired, client = STATES["02-register"](), registering()
    client.plugins = ("frobnicate",)

    story(wired, client, lambda: None, lambda: None, lambda: None)
    wired.api("POST", "/operations", {"computer": 4242, "type": "frobnicate"})
    story(
        wired,
        client,
        lambda: client.add("text-message", message="x" * 10),
        lambda: client.finish(77),
        lambda: None,
    )

    assert wired.api("GET", "/operations/77").json["status"] == "succeeded"
    assert [message["type"] for message in wired.stored()] == [
        "resynchronize",
        "text-message",
        "operation-result",
    ]


def test_a_batch_that_was_read_and_not_answered() -> None:
    """07, both halves at one server: read, then the client is killed, then all of it again: stored once."""
    wired = registered(3)()
    before, after = REQUESTS["07-batch-before-kill"](), REQUESTS["07-batch-resent-after-kill"]()

    wired.send_octets(before.exchange())
    after.take(wired.send_octets(after.exchange()))

    assert [message["message"] for message in wired.stored()] == ["x" * 10] * 3
    assert not after.pending
