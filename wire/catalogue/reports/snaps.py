"""Snaps and their services."""

from ...declaration import Declaration
from ...kinds import BOOLEAN, TEXT, either, list_of, map_of, record_of
from ..fields import needs

_SNAPS = list_of(
    record_of(
        {
            "id": TEXT,
            "name": TEXT,
            "version": TEXT,
            "revision": TEXT,
            "confinement": TEXT,
            "tracking-channel?": TEXT,
            "hold?": TEXT,
            "summary?": TEXT,
            "config?": TEXT,
            "publisher?": record_of({"username": TEXT, "validation": TEXT}, loose=True),
        },
        loose=True,
    )
)
_SERVICES = list_of(
    record_of(
        {
            "name": TEXT,
            "snap?": TEXT,
            "desktop-file?": TEXT,
            "daemon?": TEXT,
            "daemon-scope?": TEXT,
            "enabled?": BOOLEAN,
            "active?": BOOLEAN,
            "activators?": list_of(map_of(either(TEXT, BOOLEAN))),
        },
        loose=True,
    )
)

DECLARATIONS = (
    Declaration(
        type="snap-info",
        about="What device it is to the snap store.",
        fields=(
            needs("brand", TEXT, "who made it"),
            needs("model", TEXT, "what it is"),
            needs("serial", TEXT, "which one it is"),
        ),
    ),
    Declaration(
        type="snaps",
        about="The snaps that are installed.",
        fields=(
            needs("snaps", record_of({"installed": _SNAPS}), "`hold` ends at that time; `config` is JSON"),
        ),
    ),
    Declaration(
        type="snap-services",
        about="The services of the snaps.",
        fields=(
            needs(
                "services",
                record_of({"running": _SERVICES}, loose=True),
                "all of them, also those that do not run",
            ),
        ),
    ),
)
