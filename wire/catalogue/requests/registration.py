"""What brokers take themselves: identity, and how to exchange."""

from ...declaration import Declaration
from ...kinds import INTEGER, OCTETS, TEXT, either
from ...message import ACCEPTED_TYPES, REGISTRATION, RESYNCHRONIZE, SET_ID, SET_INTERVALS, UNKNOWN_ID
from ..fields import OPERATION_ID, TEXTS, may_have, needs

DECLARATIONS = (
    Declaration(
        type=ACCEPTED_TYPES,
        about="The types that the server takes from now on; what is of another type is held back.",
        fields=(needs("types", TEXTS, "all of them"),),
    ),
    Declaration(
        type=SET_ID,
        about="The agent's identity.",
        fields=(
            needs("id", OCTETS, "what it presents from now on: a secret"),
            may_have("insecure-id", either(INTEGER, TEXT), "the computer's number", nullable=True),
        ),
    ),
    Declaration(
        type=REGISTRATION,
        about="Why a registration failed.",
        fields=(needs("info", TEXT, "`unknown-account` or `max-pending-computers`"),),
    ),
    Declaration(
        type=UNKNOWN_ID,
        about="The identity that the agent presented is none; it registers anew.",
        fields=(may_have("clone-of", TEXT, "title of the computer whose identity it copied"),),
    ),
    Declaration(
        type=RESYNCHRONIZE,
        about="Tell everything afresh. An operation: the agent answers with its own `resynchronize`.",
        fields=(
            OPERATION_ID,
            may_have("scopes", TEXTS, "what to tell afresh; everything without it", nullable=True),
        ),
    ),
    Declaration(
        type=SET_INTERVALS,
        about="How often to exchange, in seconds.",
        fields=(
            may_have("exchange", INTEGER, "usually"),
            may_have("urgent-exchange", INTEGER, "when something is urgent"),
            may_have("ping", INTEGER, "between light polls; Landscape's client alone"),
        ),
    ),
)
