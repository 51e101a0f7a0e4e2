"""File systems, and storage that machines share."""

from ...declaration import Declaration
from ...kinds import BOOLEAN, INTEGER, NOTHING, NUMBER, TEXT, list_of, record_of, rows_of
from ..fields import needs

_MOUNT = record_of({"mount-point": TEXT, "device": TEXT, "filesystem": TEXT, "total-space": INTEGER})

DECLARATIONS = (
    Declaration(
        type="mount-info",
        about="What is mounted anew, or changed.",
        fields=(needs("mount-info", rows_of(time=NUMBER, mount=_MOUNT), "since when; `total-space` in MiB"),),
    ),
    Declaration(
        type="mount-activity",
        about="What was mounted, and what is no longer.",
        fields=(needs("activities", rows_of(time=NUMBER, mount_point=TEXT, mounted=BOOLEAN), "when; where"),),
    ),
    Declaration(
        type="free-space",
        about="How much room was left.",
        fields=(
            needs("free-space", rows_of(time=NUMBER, mount_point=TEXT, free=INTEGER), "when; where; MiB"),
        ),
    ),
    Declaration(
        type="ceph-usage",
        about="How full a Ceph cluster was.",
        fields=(
            needs("ring-id", TEXT, "the cluster's"),
            needs(
                "data-points",
                rows_of(time=INTEGER, total=INTEGER, available=INTEGER, used=INTEGER),
                "when; octets",
            ),
            needs("ceph-usages", list_of(NOTHING), "of old; always empty"),
        ),
    ),
    Declaration(
        type="swift-usage",
        about="How full the disks of a Swift node were.",
        fields=(
            needs(
                "data-points",
                rows_of(time=INTEGER, device=TEXT, size=INTEGER, available=INTEGER, used=INTEGER),
                "when; which; octets",
            ),
        ),
    ),
    Declaration(
        type="swift-device-info",
        about="The disks of a Swift node.",
        fields=(
            needs(
                "swift-device-info",
                list_of(record_of({"device": TEXT, "mounted": BOOLEAN})),
                "which; whether it is in use",
            ),
        ),
    ),
)
