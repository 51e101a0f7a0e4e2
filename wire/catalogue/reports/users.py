"""Users and groups."""

from ...declaration import Declaration
from ...kinds import BOOLEAN, INTEGER, NULL, TEXT, either, list_of, map_of, record_of
from ..fields import TEXT_OR_NULL, TEXTS, may_have

_USERS = list_of(
    record_of(
        {
            "uid": INTEGER,
            "username": TEXT,
            "name": TEXT_OR_NULL,
            "enabled": BOOLEAN,
            "location": TEXT_OR_NULL,
            "home-phone": TEXT_OR_NULL,
            "work-phone": TEXT_OR_NULL,
            "primary-gid?": either(INTEGER, NULL),
            "primary-groupname?": TEXT,
        }
    )
)
_GROUPS = list_of(record_of({"gid": INTEGER, "name": TEXT}))
_MEMBERS = map_of(TEXTS)

DECLARATIONS = (
    Declaration(
        type="users",
        about="What changed among users and groups.",
        fields=(
            may_have("operation-id", INTEGER, "of the operation that did it, where one did"),
            may_have("create-users", _USERS, "new"),
            may_have("update-users", _USERS, "changed"),
            may_have("delete-users", TEXTS, "gone"),
            may_have("create-groups", _GROUPS, "new"),
            may_have("update-groups", _GROUPS, "changed"),
            may_have("delete-groups", TEXTS, "gone"),
            may_have("create-group-members", _MEMBERS, "by group: who is in it now"),
            may_have("delete-group-members", _MEMBERS, "by group: who is in it no longer"),
        ),
    ),
)
