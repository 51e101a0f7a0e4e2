"""Ubuntu Pro and what comes with it; the key of an encrypted disk."""

from ...declaration import Declaration
from ...kinds import BOOLEAN, INTEGER, OCTETS, TEXT
from ..fields import MAX_RESULT_TEXT, OPERATION_ID, may_have, needs

DECLARATIONS = (
    Declaration(
        type="ubuntu-pro-info",
        about="The state of Ubuntu Pro.",
        fields=(needs("ubuntu-pro-info", TEXT, "JSON"),),
    ),
    Declaration(
        type="ubuntu-pro-reboot-required",
        about="Whether Ubuntu Pro wants a new start.",
        fields=(needs("ubuntu-pro-reboot-required", TEXT, "JSON of `error` and `output`"),),
    ),
    Declaration(
        type="livepatch",
        about="The state of the kernel's live patches.",
        fields=(
            needs(
                "livepatch", TEXT, "JSON of `humane` and `json`, each with `return_code`, `error`, `output`"
            ),
        ),
    ),
    Declaration(
        type="usg-audit",
        about="The result of a security audit that `usg` asked for.",
        fields=(
            needs("report", OCTETS, "XML, all of it"),
            OPERATION_ID,
            needs("run-id", TEXT, "that of the request"),
        ),
    ),
    Declaration(
        type="fde-recovery-key",
        about="How `fde-recovery-key` ended.",
        fields=(
            OPERATION_ID,
            needs("successful", BOOLEAN, "whether there is a key"),
            may_have("recovery-key", TEXT, "the key: a secret"),
            may_have("result-code", INTEGER, "see `operation-result`"),
            may_have("result-text", TEXT, "what there is to say", most=MAX_RESULT_TEXT),
        ),
    ),
)
