"""How operations ended, and what agents say to people."""

from ...declaration import Declaration
from ...kinds import BOOLEAN, INTEGER, NULL, OCTETS, TEXT, either, list_of
from ...message import OPERATION_RESULT
from ..fields import MAX_RESULT_TEXT, OPERATION_ID, may_have, needs

_PACKAGE_IDS = list_of(either(INTEGER, NULL))

DECLARATIONS = (
    Declaration(
        type=OPERATION_RESULT,
        about="How an operation ended.",
        fields=(
            OPERATION_ID,
            needs("status", INTEGER, "5 failed, 6 succeeded"),
            may_have(
                "result-code",
                INTEGER,
                "1 done, 100 error, 101 dependency, 102 time-out, 103 process failed, 104 attachment not fetched",
            ),
            may_have("result-text", TEXT, "what there is to say, or what was written", most=MAX_RESULT_TEXT),
        ),
    ),
    Declaration(
        type="change-packages-result",
        about="How `change-packages` ended.",
        fields=(
            OPERATION_ID,
            needs("result-code", INTEGER, "1 done, 100 error, 101 more would have to change"),
            may_have("result-text", TEXT, "what was written", most=MAX_RESULT_TEXT),
            may_have("must-install", _PACKAGE_IDS, "packages that would have to be installed as well"),
            may_have("must-remove", _PACKAGE_IDS, "packages that would have to go"),
        ),
    ),
    Declaration(
        type="text-message",
        about="A line for the operator.",
        fields=(needs("message", TEXT, "the line"),),
    ),
    Declaration(
        type="test",
        about="For tests.",
        fields=(
            may_have("greeting", OCTETS),
            may_have("consistency-error", BOOLEAN),
            may_have("echo", OCTETS),
            may_have("sequence", INTEGER),
        ),
    ),
)
