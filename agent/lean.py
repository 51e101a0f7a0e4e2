"""What our processes do not load, and do not keep."""

import linecache
import sys
from contextlib import suppress
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


def give_back() -> None:
    """
    Return to the system what starting left free: the sources of generated classes, files that were read, authorities that
    were parsed. The C library would keep it, about 1 MiB; one that cannot give it back keeps it.
    """
    from ctypes import CDLL  # a cost of its own, which those pay who come here

    linecache.clearcache()
    with suppress(OSError, AttributeError):
        CDLL(None).malloc_trim(0)
