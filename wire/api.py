"""API levels: which generation of message schemas a payload is written in (landscape 1.3, 1.4, 1.7)."""

import re

from attrs import frozen

from .errors import Malformed

_LEVEL = re.compile(r"(\d{1,4})\.(\d{1,4})\Z", re.ASCII)


@frozen(order=True)
class ApiLevel:
    """A level such as 3.3; levels compare by major, then minor number."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    def __bytes__(self) -> bytes:
        return str(self).encode()

    @classmethod
    def parse(cls, text: str | bytes) -> "ApiLevel":
        """
        The level written as `3.3`, in text or octets.

        Raises Malformed.
        """
        written = text.decode("latin-1") if isinstance(text, bytes) else text
        found = _LEVEL.match(written)
        if found is None:
            raise Malformed(f"not an API level: {written[:20]!r}; expected digits, a dot, digits")
        return cls(int(found[1]), int(found[2]))


OLDEST_SERVER_API = ApiLevel(3, 2)
"""What every server has; an agent starts here."""
NEWEST_SERVER_API = ApiLevel(3, 3)
CLIENT_API = ApiLevel(3, 8)
"""The schemas that this agent understands from a server."""
