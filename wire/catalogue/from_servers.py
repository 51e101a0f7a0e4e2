"""The declarations of what servers send."""

from itertools import chain

from ..declaration import Catalogue
from .requests import machine, packages, pro, registration, scripts, snaps, users

SECTIONS = {
    "Identity and exchange": registration.DECLARATIONS,
    "Scripts and graphs": scripts.DECLARATIONS,
    "The machine": machine.DECLARATIONS,
    "Packages": packages.DECLARATIONS,
    "Users": users.DECLARATIONS,
    "Snaps": snaps.DECLARATIONS,
    "Ubuntu Pro and security": pro.DECLARATIONS,
}
"""By subject."""

SERVER_MESSAGES = Catalogue.of(chain.from_iterable(SECTIONS.values()))
