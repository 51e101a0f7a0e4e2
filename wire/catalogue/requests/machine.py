"""The machine and what runs on it."""

from ...declaration import Declaration
from ...kinds import BOOLEAN, INTEGER, NUMBER, OCTETS, TEXT, either, list_of, record_of
from ..fields import OPERATION_ID, TEXTS, needs

_SOURCE = record_of({"name": TEXT, "content": either(TEXT, OCTETS)}, loose=True)

DECLARATIONS = (
    Declaration(
        type="signal-process",
        about="An operation: send a signal to a process.",
        fields=(
            OPERATION_ID,
            needs("pid", INTEGER, "the process's"),
            needs("name", TEXT, "what to call it in the answer"),
            needs("start-time", NUMBER, "when it began, within two seconds: another process is left alone"),
            needs("signal", TEXT, "its name without SIG, such as TERM"),
        ),
    ),
    Declaration(
        type="shutdown",
        about="An operation: end, or start again. Answered before it happens.",
        fields=(OPERATION_ID, needs("reboot", BOOLEAN, "whether to start again")),
    ),
    Declaration(
        type="apt-sources-replace",
        about="An operation: take packages from these places and no others.",
        fields=(
            OPERATION_ID,
            needs("sources", list_of(_SOURCE), "each a file; none of them: what was there before"),
            needs("gpg-keys", TEXTS, "keys to trust, in ASCII"),
        ),
    ),
)
