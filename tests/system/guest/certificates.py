"""Makes a certificate authority and a server's certificate for 127.0.0.1, where the packages want them."""

from ipaddress import IPv4Address
from pathlib import Path

from fieldpost.agent.demo.certificates import make_certificates

made = make_certificates(("localhost", IPv4Address("127.0.0.1")))
store = Path("/etc/credstore")
store.mkdir(mode=0o700, exist_ok=True)
Path("/etc/fieldpost/ca.pem").write_bytes(made.authority)
(store / "fieldpost-server.tls-key").write_bytes(made.key)
Path("/etc/fieldpost/server.pem").write_bytes(made.certificate)
