"""Scripts, and graphs of what scripts count."""

from ...declaration import Declaration
from ...kinds import INTEGER, NUMBER, TEXT, either, map_of
from ..fields import OPERATION_ID, may_have, needs

_INTERPRETER = needs("interpreter", TEXT, "a path, with at most one argument after it")
_CODE = needs("code", TEXT, "the script")
_USERNAME = needs("username", TEXT, "the user to run it as")
_GRAPH_ID = needs("graph-id", either(INTEGER, TEXT), "the graph's number")

DECLARATIONS = (
    Declaration(
        type="execute-script",
        about="An operation: run a script.",
        fields=(
            OPERATION_ID,
            _INTERPRETER,
            _CODE,
            _USERNAME,
            may_have(
                "time-limit",
                NUMBER,
                "seconds, whole ones for our plugin, 0 for its own; Landscape's client needs the field, null for none",
                nullable=True,
            ),
            may_have("env", map_of(TEXT), "its environment", nullable=True),
            may_have(
                "attachments",
                map_of(INTEGER),
                "files to put beside it: ids by name; Landscape's client needs the field, null for none",
                nullable=True,
            ),
        ),
    ),
    Declaration(
        type="custom-graph-add",
        about="Run a script every five minutes and draw the number that it writes. Nothing answers; see the agent's `custom-graph`.",
        fields=(_GRAPH_ID, _INTERPRETER, _CODE, _USERNAME),
    ),
    Declaration(
        type="custom-graph-remove",
        about="No longer do so. Nothing answers.",
        fields=(_GRAPH_ID,),
    ),
)
