"""What our processes do not load."""

import sys
from importlib.util import find_spec


def leave_tls_out() -> None:
    """
    Let later imports of OpenSSL fail in this process, unless it is loaded already.

    Twisted's AMP and its endpoints load OpenSSL wherever they find it, AMP for a STARTTLS that we never use. It costs
    every plugin process 11 MiB. To be called before they are imported, and only where no TLS is spoken.
    """
    sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]


def leave_second_openssl_out() -> None:
    """
    Let later imports of the standard library's OpenSSL fail in this process, unless it is loaded already.

    asyncio and hashlib, which Twisted loads, load it wherever they can, and do without it where they cannot. Beside the
    OpenSSL of `cryptography`, the only one that is used, it costs 4 to 5 MiB. Not for processes that run other people's
    plugins: these may want it.
    """
    sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]
    if all(find_spec(name) for name in _HASHES):
        sys.modules.setdefault("_hashlib", None)  # type: ignore[arg-type]


_HASHES = ("_md5", "_sha1", "_sha3", "_blake2")
"""Python's own hashes. Some builds leave them to OpenSSL; there it stays."""
