"""
Makes the packages' configuration from the samples of conf/: `conffiles.py FROM TO`.

Each change names the line that it replaces, and fails when the sample has it no more: so the two cannot drift apart.
"""

import re
import sys
from pathlib import Path

AGENT = (
    (
        'url = "https://fieldpost.example/message-system"',
        '# url = "https://fieldpost.example/message-system"',
    ),
    ('account-name = "main"', '# account-name = "main"'),
    (
        '# registration-key-file = "registration.key"',
        '# registration-key-file = "registration-key"  # /etc/credstore/fieldpost-agent.registration-key',
    ),
)
"""Without an address the agent waits, and says so."""

SERVER = (
    (
        '    "ssl:port=8443:privateKey=/etc/fieldpost/server-key.pem:certKey=/etc/fieldpost/server-cert.pem",',
        """\
    # The key is /etc/credstore/fieldpost-server.tls-key, which systemd hands to the server.
    # "ssl:port=8443:privateKey=/run/credentials/fieldpost-server.service/tls-key:certKey=/etc/fieldpost/server.pem",""",
    ),
    (
        'api-token-file = "/etc/fieldpost/api-token"',
        'api-token-file = "api-token"                # /etc/credstore/fieldpost-server.api-token',
    ),
    (
        'registration-key-file = "/etc/fieldpost/registration-key"',
        '# registration-key-file = "registration-key"  # /etc/credstore/fieldpost-server.registration-key',
    ),
    (
        '# certificate-file = "/etc/fieldpost/server-cert.pem"',
        '# certificate-file = "server.pem"',
    ),
    (
        '# key-file = "/etc/fieldpost/server-key.pem"',
        '# key-file = "tls-key"                       # /etc/credstore/fieldpost-server.tls-key',
    ),
)
"""It listens on this machine alone until somebody decides otherwise; secrets are systemd's credentials."""

MONITOR_USER = "fieldpost-monitor"
MANAGER_USER = "root"


def main(source: Path, target: Path) -> None:
    """Write all of them."""
    write(target / "agent.toml", replaced(source / "agent.toml", AGENT))
    write(target / "server.toml", replaced(source / "server.toml", SERVER))
    for file in sorted((source / "plugins.d").glob("*.toml")):
        write(target / "plugins.d" / file.name, with_user(file))


def replaced(file: Path, changes: tuple[tuple[str, str], ...]) -> str:
    """The file's text with each line changed."""
    text = file.read_text(encoding="utf-8")
    for before, after in changes:
        text, count = re.subn(
            rf"^{re.escape(before)}(?= *(#.*)?$)", lambda _, new=after: new, text, flags=re.MULTILINE
        )
        if count != 1:
            sys.exit(
                f"{file}: the line {before!r} is there {count} times, not once; change debian/conffiles.py"
            )
    return text


def with_user(file: Path) -> str:
    """A manifest that names the user of its unit: grants are by user. Monitors share a host, a manager has its own."""
    text = re.sub(r"^# user = .*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    is_monitor = re.search(r'^host = "monitors"', text, re.MULTILINE) is not None
    user = MONITOR_USER if is_monitor else MANAGER_USER
    line = f'user = "{user}"'.ljust(41) + " # that of its service, by which the broker knows it\n"
    text, count = re.subn(r"^(?=(sends|handles) = )", line, text, count=1, flags=re.MULTILINE)
    if count != 1:
        sys.exit(f"{file}: neither sends nor handles anything; change debian/conffiles.py")
    return text


def write(file: Path, text: str) -> None:
    """Into a folder that is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
