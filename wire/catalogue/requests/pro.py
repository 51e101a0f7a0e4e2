"""Ubuntu Pro and what comes with it; the key of an encrypted disk."""

from ...declaration import Declaration
from ...kinds import INTEGER, TEXT, either, tuple_of
from ..fields import OPERATION_ID, may_have, needs

DECLARATIONS = (
    Declaration(
        type="attach-pro",
        about="An operation: attach the machine to Ubuntu Pro.",
        fields=(OPERATION_ID, needs("token", TEXT, "the contract's: a secret")),
    ),
    Declaration(
        type="detach-pro",
        about="An operation: detach it.",
        fields=(OPERATION_ID,),
    ),
    Declaration(
        type="fde-recovery-key",
        about="An operation: make a key that opens the encrypted disk. Answered with the agent's own `fde-recovery-key`.",
        fields=(OPERATION_ID,),
    ),
    Declaration(
        type="usg",
        about="An operation: audit the machine's security, or mend it. An audit is answered with `usg-audit` as well.",
        fields=(
            OPERATION_ID,
            needs("run-id", TEXT, "repeated in `usg-audit`"),
            needs("action", TEXT, "`audit` or `fix`"),
            may_have("profile", TEXT, "what to measure by", nullable=True),
            may_have(
                "tailoring-file",
                tuple_of(TEXT, either(INTEGER, TEXT)),
                "a file that fits it to the machine: name, and id of an attachment or the text itself",
                nullable=True,
            ),
        ),
    ),
)
