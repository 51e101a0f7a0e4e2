"""Names that the kernel gives us, as text that travels."""


def travelling(name: str) -> str:
    """
    The same name, with a mark for each octet that is no UTF-8.

    Mount points, interfaces and host names are octets; Python keeps strange ones as lone surrogates, which no encoding
    takes.
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
