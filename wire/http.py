"""The exchange over HTTP: path, header names, media types (landscape 1.1)."""

import re

EXCHANGE_PATH = "/message-system"
COMPUTER_ID = "X-Computer-ID"
"""The secure id, when registered."""
EXCHANGE_TOKEN = "X-Exchange-Token"
"""The token of the last answer, when one is stored."""
MESSAGE_API = "X-Message-API"
"""The payload's API level; a server that does not have it answers 404."""
MAX_EXCHANGE_OCTETS = 30_000_000
"""Largest body that a server takes unless configured, unpacked (landscape 1.1)."""

MAX_CREDENTIAL_OCTETS = 128
_CREDENTIAL = re.compile(rb"[!-~]+\Z")


def is_credential(octets: bytes) -> bool:
    """Whether these may be a secure id or a token: both travel in headers, so they are visible ASCII."""
    return len(octets) <= MAX_CREDENTIAL_OCTETS and _CREDENTIAL.match(octets) is not None
