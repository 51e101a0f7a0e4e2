"""The exchange over HTTP: path, header names, media types (landscape 1.1)."""

EXCHANGE_PATH = "/message-system"
COMPUTER_ID = "X-Computer-ID"
"""The secure id, when registered."""
EXCHANGE_TOKEN = "X-Exchange-Token"
"""The token of the last answer, when one is stored."""
MESSAGE_API = "X-Message-API"
"""The payload's API level; a server that does not have it answers 404."""
CBOR_TYPE = "application/cbor"
MAX_EXCHANGE_OCTETS = 30_000_000
"""Largest body that a server takes unless configured, unpacked (landscape 1.1)."""
