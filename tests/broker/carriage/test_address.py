"""The server's URL, and where its identity may go."""

import pytest

from fieldpost.broker.carriage.address import Address, AddressInvalid


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("https://Example.com", "example.com:443", "/message-system"),
        ("http://example.com/", "example.com:80", "/message-system"),
        (" https://example.com:8443/a/b?c=d ", "example.com:8443", "/a/b?c=d"),
        ("https://[2001:DB8::1]:7/x", "[2001:db8::1]:7", "/x"),
        ("https://127.0.0.1/x", "127.0.0.1:443", "/x"),
        ("https://bücher.example/x", "xn--bcher-kva.example:443", "/x"),
    ],
)
def test_a_url_is_taken_apart(url: str, authority: str, target: str) -> None:
    """Without a path the usual one is meant; names become ASCII."""
    address = Address.of_server(url)

    assert (address.authority, address.target) == (authority, target)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("", "no URL"),
        ("example.com", "no URL"),
        ("https:///x", "a host name is missing or is none"),
        ("https://a b/", "a host name is missing or is none"),
        ("https://a_b/", "a host name is missing or is none"),
        ("https://[::1/", "no URL"),
        ("https://[fe80::1%25eth0]/", "no URL"),
        ("https://a:99999/", "no URL"),
        ("https://a:b/", "no URL"),
        (f"https://{'ü' * 80}/", "no URL"),
        ("ftp://example.com/", "does not start with https:// or http://"),
        ("https://me:secret@example.com/", "holds a user or a password"),
        ("https://example.com/ä", "must be percent-encoded"),
        ("https://example.com/a b", "must be percent-encoded"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(url: str, cause: str) -> None:
    """The error names the cause and shows how it should be written, and no password."""
    with pytest.raises(AddressInvalid) as caught:
        Address.of_server(url)

    assert cause in str(caught.value)
    assert "https://fieldpost.example.com/message-system" in str(caught.value)
    assert "secret" not in str(caught.value)


SERVER = Address.of_server("https://a.example/x/y?z")


def test_a_location_is_read_from_where_it_was_said() -> None:
    """Relative ones too."""
    assert str(SERVER.join("v")) == "https://a.example:443/x/v"
    assert str(SERVER.join("http://b.example")) == "http://b.example:80/"


def test_a_location_that_is_none_is_refused() -> None:
    """Even one that the parser itself stumbles over."""
    for location in ("http://[", "mailto:x@y", "https://a.example:0x50/"):
        with pytest.raises(AddressInvalid):
            SERVER.join(location)


@pytest.mark.parametrize(
    ("here", "there", "may"),
    [
        ("https://a/x", "https://a/y", True),
        ("https://a/x", "https://a:444/x", False),
        ("https://a/x", "https://b/x", False),
        ("https://a/x", "http://a/x", False),
        ("http://a/x", "https://a/x", True),
        ("http://a:8080/x", "https://a:8443/x", True),
        ("http://a/x", "https://b/x", False),
    ],
)
def test_identity_goes_to_the_same_party_alone(here: str, there: str, may: bool) -> None:
    """The same scheme, host and port, or up to TLS on the same host."""
    assert Address.parse(here).may_become(Address.parse(there)) is may


def test_ip_addresses_are_told_from_names() -> None:
    """Certificates are checked differently for them."""
    assert Address.parse("https://[::1]/").is_literal
    assert not Address.parse("https://a/").is_literal
