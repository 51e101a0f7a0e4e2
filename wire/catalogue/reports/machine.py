"""What machine it is, and what runs on it."""

from ...declaration import Declaration
from ...kinds import BOOLEAN, INTEGER, NUMBER, OCTETS, TEXT, list_of, map_of, record_of
from ..fields import TEXTS, may_have, needs, ours

_PROCESSES = list_of(
    record_of(
        {
            "pid": INTEGER,
            "name": TEXT,
            "state": OCTETS,
            "uid": INTEGER,
            "gid": INTEGER,
            "start-time": INTEGER,
            "vm-size?": INTEGER,
            "sleep-average?": INTEGER,
            "percent-cpu?": NUMBER,
        }
    )
)
_PROCESSORS = record_of({"processor-id": INTEGER, "model": TEXT, "vendor?": TEXT, "cache-size?": INTEGER})

DECLARATIONS = (
    Declaration(
        type="computer-info",
        about="What kind of machine it is. Which fields there are depends on who tells.",
        fields=(
            may_have("hostname", TEXT, "the machine's own name"),
            ours("architecture", TEXT, "such as x86_64"),
            ours("kernel", TEXT, "its release"),
            ours("processors", INTEGER, "how many"),
            may_have("total-memory", INTEGER, "MiB"),
            may_have("total-swap", INTEGER, "MiB"),
            ours("distribution", TEXT, "its own name for itself"),
            may_have("annotations", map_of(TEXT), "what people noted on the machine, by name"),
            may_have("machine-id", TEXT, "a UUID made of the machine's id"),
        ),
    ),
    Declaration(
        type="distribution-info",
        about="What system it runs.",
        fields=(
            may_have("distributor-id", TEXT, "such as Ubuntu"),
            may_have("description", TEXT, "name and version for people"),
            may_have("release", TEXT, "such as 24.04"),
            may_have("code-name", TEXT, "such as noble"),
        ),
    ),
    Declaration(
        type="hardware-info",
        about="All that there is of hardware.",
        fields=(needs("data", TEXT, "XML, as lshw writes it"),),
    ),
    Declaration(
        type="processor-info",
        about="Its processors: all of them, when one is another.",
        fields=(needs("processors", list_of(_PROCESSORS), "`cache-size` in kB"),),
    ),
    Declaration(
        type="active-process-info",
        about="What began, went on and ended among the processes since the message before.",
        fields=(
            may_have("kill-all-processes", BOOLEAN, "forget all that were told: these are all"),
            may_have("kill-processes", list_of(INTEGER), "ids of those that ended"),
            may_have(
                "add-processes",
                _PROCESSES,
                "`state` is the kernel's letter; `start-time` in seconds since 1970, `vm-size` in kB, `percent-cpu` up to 99",
            ),
            may_have("update-processes", _PROCESSES, "those of which something changed"),
        ),
    ),
    Declaration(
        type="network-device",
        about="Its network interfaces that are up.",
        fields=(
            needs(
                "devices",
                list_of(
                    record_of(
                        {
                            "interface": OCTETS,
                            "ip_address": OCTETS,
                            "mac_address": OCTETS,
                            "broadcast_address": OCTETS,
                            "netmask": OCTETS,
                            "flags": INTEGER,
                        }
                    )
                ),
                "addresses as people write them; `flags` are the kernel's",
            ),
            may_have(
                "device-speeds",
                list_of(record_of({"interface": OCTETS, "speed": INTEGER, "duplex": BOOLEAN})),
                "Mbit/s; whether both ways at once",
            ),
        ),
    ),
    Declaration(
        type="reboot-required-info",
        about="Whether it wants to be started again; what changed of that.",
        fields=(
            may_have("flag", BOOLEAN, "whether"),
            may_have("packages", TEXTS, "on whose account"),
        ),
    ),
    Declaration(
        type="reboot-required",
        about="Whether it wants to be started again, as old clients said it.",
        fields=(needs("flag", BOOLEAN, "whether"),),
    ),
    Declaration(
        type="computer-tags",
        about="Tags that its configuration gives it.",
        fields=(
            needs("tags", TEXT, "parted by commas; null for none, or for such as cannot be", nullable=True),
        ),
    ),
)
