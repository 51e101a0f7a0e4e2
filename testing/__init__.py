"""Harness for plugin authors: run a plugin in memory, see what it sends. See docs/writing-a-plugin.md."""

from .broker import FakeBroker, Kept
from .harness import START, PluginRun
from .machine import FakeProcess, FakeSpawner, FakeThreads
from .results import NotYet, result_of

__all__ = [
    "START",
    "FakeBroker",
    "FakeProcess",
    "FakeSpawner",
    "FakeThreads",
    "Kept",
    "NotYet",
    "PluginRun",
    "result_of",
]
