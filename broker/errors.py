"""The root of what can go wrong in the broker's parts."""

from ..wire.errors import FieldpostError


class BrokerError(FieldpostError):
    """Root of the errors of `broker`; each case stands beside the code that raises it."""
