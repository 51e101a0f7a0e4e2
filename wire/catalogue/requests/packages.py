"""Packages."""

from ...declaration import Declaration
from ...kinds import BOOLEAN, INTEGER, NULL, OCTETS, TEXT, either, list_of, rows_of
from ..fields import OPERATION_ID, may_have, needs

_IDS = list_of(INTEGER)

DECLARATIONS = (
    Declaration(
        type="package-ids",
        about="The numbers of packages that `unknown-package-hashes` or `add-packages` asked for.",
        fields=(
            needs("request-id", INTEGER, "the agent's"),
            needs(
                "ids",
                list_of(either(INTEGER, NULL)),
                "one for each, in its order; null for one that is not known",
            ),
        ),
    ),
    Declaration(
        type="change-packages",
        about="An operation: install and remove packages. Answered with `change-packages-result`.",
        fields=(
            OPERATION_ID,
            may_have("upgrade-all", BOOLEAN, "whatever can be upgraded"),
            may_have("install", _IDS, "packages to install"),
            may_have("remove", _IDS, "packages to remove"),
            may_have("hold", _IDS, "packages to hold back"),
            may_have("remove-hold", _IDS, "packages to hold back no longer"),
            may_have(
                "policy", INTEGER, "0 this and no more, 1 what else must be installed, 2 whatever it takes"
            ),
            may_have(
                "binaries",
                rows_of(hash=OCTETS, id=INTEGER, content=OCTETS),
                "further packages to be had, in base64",
                nullable=True,
            ),
            may_have("reboot-if-necessary", BOOLEAN, "start again if the system asks for it"),
        ),
    ),
    Declaration(
        type="change-package-locks",
        about="An operation that Landscape's client no longer knows: it fails.",
        fields=(OPERATION_ID,),
    ),
    Declaration(
        type="release-upgrade",
        about="An operation: upgrade to another release of the system.",
        fields=(
            OPERATION_ID,
            needs("code-name", TEXT, "the release; not the one that is there"),
            needs("upgrade-tool-tarball-url", TEXT, "the tool that does it"),
            needs("upgrade-tool-signature-url", TEXT, "and its signature"),
            may_have("allow-third-party", BOOLEAN, "leave foreign sources on"),
            may_have("debug", BOOLEAN, "say more"),
        ),
    ),
)
