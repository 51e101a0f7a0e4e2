"""network-activity tells what goes through each interface."""

from collections.abc import Mapping

import pytest

from fieldpost.plugins.network_activity import NetworkActivity, grown, read_counters
from fieldpost.testing import START, PluginRun
from tests.plugins.readings import Counters

T = int(START)


class Network:
    """Interfaces that carry so many octets a second each way."""

    def __init__(self, **rates: int) -> None:
        self.rates = rates
        self.counters: dict[str, Counters] = {name: Counters(10_000, 20_000) for name in rates}
        self.run = PluginRun(NetworkActivity, read_counters=self.read, start=False)
        self._at = 0.0
        self.run.runner.start()

    def read(self) -> Mapping[str, Counters]:
        passed = int(self.run.clock.seconds() - self._at)
        self._at += passed
        for name, counters in self.counters.items():
            counters.bytes_recv += passed * self.rates[name]
            counters.bytes_sent += passed * self.rates[name] * 2
        return {name: Counters(c.bytes_recv, c.bytes_sent) for name, c in self.counters.items()}


def total(run: PluginRun[NetworkActivity], name: str) -> int:
    return sum(point[1] for message in run.messages for point in message["activities"].get(name, []))


def test_the_first_report_names_the_interfaces_idle_ones_too() -> None:
    """A second after the start."""
    network = Network(eth0=100, eth1=0)

    network.run.advance(1)

    assert network.run.messages == [
        {"type": "network-activity", "activities": {"eth0": [[T + 1, 100, 200]], "eth1": [[T + 1, 0, 0]]}}
    ]


def test_later_reports_have_a_point_per_step_of_what_was_busy() -> None:
    """Sums of octets since the point before."""
    network = Network(eth0=100, eth1=0)
    network.run.advance(610)

    network.run.impending_exchange()

    assert network.run.messages[1]["activities"] == {
        "eth0": [[T + 300, 29_900, 59_800], [T + 600, 30_000, 60_000]]
    }


def test_a_machine_without_interfaces_sends_nothing() -> None:
    """A container may have none to show."""
    network = Network()
    network.run.advance(700)
    network.run.impending_exchange()
    network.run.stop()

    assert network.run.messages == []


def test_every_octet_is_told_once() -> None:
    """Over start, steps and end."""
    network = Network(eth0=7)
    network.run.advance(1000)
    network.run.impending_exchange()
    network.run.advance(1000)

    network.run.stop()

    assert total(network.run, "eth0") == 7 * 2000


def test_an_interface_that_goes_is_told_to_its_end() -> None:
    """And forgotten: a host of containers makes and drops many."""
    network = Network(eth0=1, veth1=10)
    network.run.advance(100)
    del network.counters["veth1"]
    network.run.advance(250)

    network.run.impending_exchange()

    assert total(network.run, "veth1") >= 10 * 60
    assert set(network.run.plugin._sums) == {"eth0"}


def test_an_interface_that_comes_is_counted_from_there() -> None:
    """What it carried before it was seen may have been elsewhere."""
    network = Network(eth0=1)
    network.run.advance(100)
    network.rates["wlan0"] = 10
    network.counters["wlan0"] = Counters(5_000_000, 0)
    network.run.advance(500)

    network.run.stop()

    assert 10 * 400 <= total(network.run, "wlan0") <= 10 * 500


@pytest.mark.parametrize(
    ("before", "now", "octets"),
    [
        (100, 100, 0),
        (100, 150, 50),
        (2**32 - 10, 5, 15),
        (2**32 - 2**30, 2**30 - 1, 2**31 - 1),
        (5_000, 20, 20),
        (2**32 - 10, 2**31, 2**31),
        (2**40, 20, 20),
    ],
)
def test_a_counter_that_goes_back_wrapped_or_was_set_to_zero(before: int, now: int, octets: int) -> None:
    """Wrapping is believed near 32 bits alone; never is less than nothing counted."""
    assert grown(before, now) == octets


def test_a_name_that_is_no_text_travels_all_the_same() -> None:
    """The kernel takes any octets for a name."""
    counters = {"et\udcff": Counters()}
    run = PluginRun(NetworkActivity, read_counters=lambda: counters)

    run.advance(1)

    assert list(run.messages[0]["activities"]) == ["et\N{REPLACEMENT CHARACTER}"]


def test_this_machine_can_be_read() -> None:
    """The real one, as it is."""
    run = PluginRun(NetworkActivity)
    run.advance(1)

    assert set(read_counters()) == set(run.messages[0]["activities"] if run.messages else ())
