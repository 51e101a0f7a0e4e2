"""Packages and where they come from."""

from ...declaration import Declaration
from ...kinds import (
    INTEGER,
    NULL,
    NUMBER,
    OCTETS,
    TEXT,
    either,
    list_of,
    map_of,
    record_of,
    rows_of,
    tuple_of,
)
from ..fields import MAX_RESULT_TEXT, may_have, needs

_IDS = list_of(either(INTEGER, tuple_of(INTEGER, INTEGER)))
_LOCKS = rows_of(name=TEXT, relation=TEXT, version=TEXT)
_SIZE = either(INTEGER, NULL)
_REQUEST_ID = needs("request-id", INTEGER, "the agent's number for it; `package-ids` repeats it")

DECLARATIONS = (
    Declaration(
        type="packages",
        about="What changed in the state of packages. Packages are numbers of the server's; `[first, last]` stands for all from one to "
        "the other.",
        fields=(
            may_have("installed", _IDS, "now installed"),
            may_have("not-installed", _IDS, "no longer"),
            may_have("available", _IDS, "now to be had"),
            may_have("not-available", _IDS, "no longer"),
            may_have("available-upgrades", _IDS, "now newer than what is installed"),
            may_have("not-available-upgrades", _IDS, "no longer"),
            may_have("locked", _IDS, "now held"),
            may_have("not-locked", _IDS, "no longer"),
            may_have("autoremovable", _IDS, "now needed by nothing"),
            may_have("not-autoremovable", _IDS, "no longer"),
            may_have("security", _IDS, "now a matter of security"),
            may_have("not-security", _IDS, "no longer"),
        ),
    ),
    Declaration(
        type="unknown-package-hashes",
        about="Packages whose numbers the agent does not know. Answered with `package-ids`.",
        fields=(
            needs("hashes", list_of(OCTETS), "SHA-1 of each, 20 octets; 500 at most from Landscape's client"),
            _REQUEST_ID,
        ),
    ),
    Declaration(
        type="add-packages",
        about="Packages that the server did not know. Answered with `package-ids`.",
        fields=(
            needs(
                "packages",
                list_of(
                    record_of(
                        {
                            "name": TEXT,
                            "version": TEXT,
                            "section": TEXT,
                            "summary": TEXT,
                            "description": TEXT,
                            "type": INTEGER,
                            "size": _SIZE,
                            "installed-size": _SIZE,
                            "relations": list_of(tuple_of(INTEGER, TEXT)),
                        }
                    )
                ),
                "`type` is 65537; each of `relations` has its kind and its text",
            ),
            _REQUEST_ID,
        ),
    ),
    Declaration(
        type="package-reporter-result",
        about="How the look for new packages went.",
        fields=(
            may_have("report-timestamp", NUMBER, "when"),
            needs("code", INTEGER, "0 for well, 1 also for a machine without sources"),
            needs("err", TEXT, "what went wrong, or nothing", most=MAX_RESULT_TEXT),
        ),
    ),
    Declaration(
        type="package-locks",
        about="What changed in the locks on packages. No client sends it now.",
        fields=(may_have("created", _LOCKS, "new"), may_have("deleted", _LOCKS, "gone")),
    ),
    Declaration(
        type="apt-preferences",
        about="The preferences of apt.",
        fields=(
            needs(
                "data", map_of(TEXT), "by file; null for none; of large files the beginning", nullable=True
            ),
        ),
    ),
    Declaration(
        type="update-manager-info",
        about="Which new releases it is offered.",
        fields=(needs("prompt", TEXT, "`lts`, `normal` or `never`"),),
    ),
)
