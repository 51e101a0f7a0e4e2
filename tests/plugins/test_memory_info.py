"""memory-info tells how much memory is free."""

import warnings

import pytest

from fieldpost.plugins.memory_info import MIB, MemoryInfo
from fieldpost.plugins.memory_info import read_swap as read_real_swap
from fieldpost.testing import START, PluginRun
from tests.plugins.readings import Memory

T = int(START)


def test_real_figures_come_a_second_after_the_start() -> None:
    """In MiB."""
    run = PluginRun(
        MemoryInfo,
        read_memory=lambda: Memory(available=512 * MIB),
        read_swap=lambda: Memory(free=64 * MIB),
    )

    run.advance(1)

    assert run.messages == [{"type": "memory-info", "memory-info": [[T + 1, 512, 64]]}]


def test_a_point_is_the_mean_of_its_step() -> None:
    """Half the time half the memory."""
    memory = Memory(available=1000 * MIB)
    run = PluginRun(MemoryInfo, read_memory=lambda: memory, read_swap=Memory)
    run.advance(150)
    memory.available = 500 * MIB
    run.advance(155)

    run.impending_exchange()

    (point,) = run.messages[1]["memory-info"]
    assert point == [T + 300, pytest.approx(750, abs=60), 0]


def test_a_machine_without_swap_has_none_free() -> None:
    """In some containers it cannot even be asked."""

    def no_swap() -> Memory:
        raise FileNotFoundError("/proc/vmstat")

    run = PluginRun(MemoryInfo, read_memory=lambda: Memory(available=MIB), read_swap=no_swap)

    run.advance(1)

    assert run.messages[0]["memory-info"] == [[T + 1, 1, 0]]


def test_this_machine_can_be_read() -> None:
    """The real one, as it is, without a warning for what its container hides."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = PluginRun(MemoryInfo)
        run.advance(1)

    ((_, free, swap),) = run.messages[0]["memory-info"]
    assert free > 0
    assert swap == round(read_real_swap().free / MIB)
