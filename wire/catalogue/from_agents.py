"""The declarations of what agents send. Both directions have types of one name and different fields; hence two catalogues."""

from itertools import chain

from ..api import ApiLevel
from ..declaration import Catalogue
from ..message import Message
from .reports import clouds, figures, machine, operations, packages, pro, registration, snaps, storage, users

SECTIONS = {
    "Registration and the broker's own words": registration.DECLARATIONS,
    "Results and notes": operations.DECLARATIONS,
    "The machine": machine.DECLARATIONS,
    "Figures over time": figures.DECLARATIONS,
    "Storage": storage.DECLARATIONS,
    "Packages": packages.DECLARATIONS,
    "Users": users.DECLARATIONS,
    "Snaps": snaps.DECLARATIONS,
    "Ubuntu Pro and security": pro.DECLARATIONS,
    "Clouds": clouds.DECLARATIONS,
}
"""By subject."""

AGENT_MESSAGES = Catalogue.of(chain.from_iterable(SECTIONS.values()))


def coerce(message: Message, api: ApiLevel) -> Message:
    """
    An agent's message of a built-in type as a Landscape server of this API level knows it; see Declaration.

    Raises Malformed, naming the field.
    """
    return AGENT_MESSAGES.coerce(message, api)
