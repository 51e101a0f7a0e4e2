"""What a plugin process does not load."""

import sys


def leave_tls_out() -> None:
    """
    Let later imports of OpenSSL fail in this process, unless it is loaded already.

    Twisted's AMP and its endpoints load OpenSSL wherever they find it, AMP for a STARTTLS that we never use. It costs
    every plugin process 11 MiB. To be called before they are imported, and only where no TLS is spoken.
    """
    sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]
