"""
Snaps and their services.

The keys of `args` are those of snapd's interface. Further ones are not refused here: they come and go with its versions.
"""

from collections.abc import Mapping

from ...declaration import Declaration
from ...kinds import ANYTHING, BOOLEAN, TEXT, Kind, list_of, map_of, record_of
from ..fields import OPERATION_ID, may_have, needs


def _operation(
    type: str, about: str, args: Mapping[str, Kind], *, args_needed: bool = False, for_all: bool = False
) -> Declaration:
    """An operation on several snaps; `for_all` says whether its arguments can be given once for all of them."""
    each = record_of(args, loose=True)
    one = record_of({"name": TEXT, ("args" if args_needed else "args?"): each}, loose=True)
    return Declaration(
        type=type,
        about=f"An operation: {about}",
        fields=(
            OPERATION_ID,
            needs("snaps", list_of(one), "which, each with arguments of its own or without"),
            may_have(
                "args",
                each if for_all else map_of(ANYTHING),
                "arguments for all, if none has its own" if for_all else "of no use here",
            ),
        ),
    )


_PLACE = {"revision?": TEXT, "channel?": TEXT, "classic?": BOOLEAN}
_SERVICES = (
    ("start-snap-service", "start services of snaps", {"enable?": BOOLEAN}),
    ("stop-snap-service", "stop services of snaps", {"disable?": BOOLEAN}),
    ("restart-snap-service", "start services of snaps again", {"reload?": BOOLEAN}),
)

DECLARATIONS = (
    _operation("install-snaps", "install snaps.", _PLACE),
    _operation("refresh-snaps", "bring snaps up to date.", _PLACE),
    _operation("remove-snaps", "remove snaps.", {"purge?": BOOLEAN, "terminate?": BOOLEAN}),
    _operation(
        "hold-snaps",
        "keep snaps as they are for a time (`hold_level` `general` or `auto-refresh`; `time` as in RFC 3339, or `forever`).",
        {"hold_level?": TEXT, "time?": TEXT},
        for_all=True,
    ),
    _operation("unhold-snaps", "keep snaps so no longer.", {}),
    _operation(
        "set-snap-config",
        "configure snaps; null takes a value away.",
        {"config": map_of(ANYTHING)},
        args_needed=True,
    ),
    *(_operation(type, f"{about}.", args, for_all=True) for type, about, args in _SERVICES),
    *(
        _operation(
            f"{type}-batch",
            f"{about}; Landscape's client confuses this one: send it without `-batch`.",
            args,
            for_all=True,
        )
        for type, about, args in _SERVICES
    ),
)
