"""From manifests to grants: what each plugin may do, and as whom."""

import pwd
from collections.abc import Iterable

from ..broker.local.grants import Grant, Grants
from ..runtime.settings import SettingsError
from ..runtime.toml_source import Problem
from .manifest import Manifest


def grants_of(manifests: Iterable[Manifest], *, own_uid: int) -> Grants:
    """
    What each plugin may do, by its manifest; also of plugins that are not enabled, which may be started by hand.

    Raises SettingsError, GrantInvalid.
    """
    return Grants([grant_of(manifest, own_uid=own_uid) for manifest in manifests], operators=(0, own_uid))


def grant_of(manifest: Manifest, *, own_uid: int) -> Grant:
    """
    The same for one of them.

    Raises SettingsError, GrantInvalid.
    """
    return Grant(
        name=manifest.name,
        uids=_uids(manifest, own_uid),
        sends=frozenset(manifest.sends),
        handles=frozenset(manifest.handles),
        subscribes=frozenset(manifest.subscribes),
    )


def _uids(manifest: Manifest, own_uid: int) -> frozenset[int]:
    """Without a `user` a plugin runs as its supervisor does: as we, or as root who made us what we are."""
    if manifest.user is None:
        return frozenset({0, own_uid})
    try:
        return frozenset({pwd.getpwnam(manifest.user).pw_uid})
    except KeyError:
        text = f"there is no user {manifest.user}; make it, or name another"
        raise SettingsError([Problem(file=manifest.file, option="user", text=text)]) from None
