"""Figures over time. A point has the time at which its step ended, in seconds since 1970."""

from ...declaration import Declaration
from ...kinds import INTEGER, NUMBER, OCTETS, TEXT, list_of, map_of, record_of, rows_of, tuple_of
from ..fields import POINTS, needs

_GRAPH = record_of({"values": list_of(tuple_of(NUMBER, NUMBER)), "error": TEXT, "script-hash": OCTETS})

DECLARATIONS = (
    Declaration(
        type="cpu-usage",
        about="How busy the processors were.",
        fields=(
            needs(
                "cpu-usages", rows_of(time=INTEGER, load=NUMBER), "end of each step; share of time, 0 to 1"
            ),
        ),
    ),
    Declaration(
        type="load-average",
        about="How many processes wanted to run.",
        fields=(
            needs(
                "load-averages",
                rows_of(time=INTEGER, load=NUMBER),
                "end of each step; the kernel's load of one minute",
            ),
        ),
    ),
    Declaration(
        type="memory-info",
        about="How much memory was free.",
        fields=(
            needs(
                "memory-info",
                rows_of(time=NUMBER, free_memory=INTEGER, free_swap=INTEGER),
                "end of each step; MiB",
            ),
        ),
    ),
    Declaration(
        type="network-activity",
        about="How much went through each network interface.",
        fields=(
            needs(
                "activities",
                map_of(rows_of(time=INTEGER, received=INTEGER, sent=INTEGER), by=OCTETS),
                "by interface: end of each step; octets in it",
            ),
        ),
    ),
    Declaration(
        type="temperature",
        about="How warm it was somewhere in the machine.",
        fields=(
            needs("thermal-zone", TEXT, "where"),
            needs("temperatures", POINTS, "end of each step; degrees Celsius"),
        ),
    ),
    Declaration(
        type="custom-graph",
        about="What the scripts of `custom-graph-add` counted.",
        fields=(
            needs(
                "data",
                map_of(_GRAPH, by=INTEGER),
                "by the graph's id: end of each step and number; what went wrong, or nothing; a digest of the script",
            ),
        ),
    ),
)
