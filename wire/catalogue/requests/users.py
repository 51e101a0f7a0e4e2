"""Users and groups. What Landscape's client changes it also reports, as `users` with the operation's id."""

from ...declaration import Declaration, Field
from ...kinds import BOOLEAN, TEXT
from ..fields import OPERATION_ID, may_have, needs

_USERNAME = needs("username", TEXT, "whose")
_GROUPNAME = needs("groupname", TEXT, "which")


def _person(name: str, about: str) -> Field:
    return may_have(name, TEXT, about, nullable=True)


_DETAILS = (
    _person("name", "full name"),
    _person("password", "in clear"),
    _person("primary-group-name", "group; null for the usual one, or the one that it has"),
    _person("location", "where to find them"),
    _person("work-number", "telephone"),
    _person("home-number", "telephone"),
)

DECLARATIONS = (
    Declaration(
        type="add-user",
        about="An operation: a new user. Where the system is made of snaps `email` makes the user, elsewhere Landscape's client needs "
        "all fields up to `require-password-reset`.",
        fields=(
            OPERATION_ID,
            may_have("username", TEXT, "whose; not with `assertion`"),
            *_DETAILS,
            may_have("require-password-reset", BOOLEAN, "to be changed at once"),
            may_have("email", TEXT, "account in the snap store"),
            may_have("sudoer", BOOLEAN, "may do everything"),
            may_have("force-managed", BOOLEAN, "even where somebody manages the device"),
            may_have("assertion", TEXT, "a signed statement that says who"),
        ),
    ),
    Declaration(
        type="edit-user",
        about="An operation: another password, name and so on; null leaves what is there. Landscape's client needs all fields.",
        fields=(OPERATION_ID, _USERNAME, *_DETAILS),
    ),
    Declaration(
        type="lock-user",
        about="An operation: let a user in no longer.",
        fields=(OPERATION_ID, _USERNAME),
    ),
    Declaration(
        type="unlock-user",
        about="An operation: let a user in again.",
        fields=(OPERATION_ID, _USERNAME),
    ),
    Declaration(
        type="remove-user",
        about="An operation: remove a user.",
        fields=(OPERATION_ID, _USERNAME, may_have("delete-home", BOOLEAN, "their files, too")),
    ),
    Declaration(
        type="add-group",
        about="An operation: a new group.",
        fields=(OPERATION_ID, _GROUPNAME),
    ),
    Declaration(
        type="edit-group",
        about="An operation: another name for a group.",
        fields=(OPERATION_ID, _GROUPNAME, needs("new-name", TEXT, "the name")),
    ),
    Declaration(
        type="remove-group",
        about="An operation: remove a group.",
        fields=(OPERATION_ID, _GROUPNAME),
    ),
    Declaration(
        type="add-group-member",
        about="An operation: put a user into a group.",
        fields=(OPERATION_ID, _USERNAME, _GROUPNAME),
    ),
    Declaration(
        type="remove-group-member",
        about="An operation: take a user out of a group.",
        fields=(OPERATION_ID, _USERNAME, _GROUPNAME),
    ),
)
