"""The configuration of a landscape-client, taken over."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.agent.cli import main
from fieldpost.agent.config import load_config
from fieldpost.agent.landscape_import import ImportFailed, import_landscape

USUAL = """
[client]
log_level = warning
url = https://landscape.example/message-system
ping_url = http://landscape.example/ping
data_path = /var/lib/landscape/client
account_name = standalone
registration_key = "s e c r e t"
computer_title = Press 7
tags = office, linux
access_group = presses
ssl_public_key = /etc/landscape/ca.pem
https_proxy = http://proxy.example:3128
http_proxy = http://other.example:3128
exchange_interval = 600
urgent_exchange_interval = 30
ping_interval = 20
include_manager_plugins = ScriptExecution
script_users = ALL
something_new = yes
"""


def theirs(folder: Path, text: str) -> Path:
    file = folder / "client.conf"
    file.write_text(text)
    return file


def ours(folder: Path, text: str) -> Path:
    file = folder / "agent.toml"
    file.write_text(text)
    return file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["config", "import-landscape", *map(str, arguments)])


def test_usual_file(tmp_path: Path) -> None:
    """What comes out is a configuration that says the same."""
    imported = import_landscape(theirs(tmp_path, USUAL))

    config = load_config(ours(tmp_path, imported.toml()))
    server = config.server
    assert (server.protocol, server.url) == ("landscape", "https://landscape.example/message-system")
    assert (server.ping_url, server.ping_interval) == ("http://landscape.example/ping", 20)
    assert (server.account_name, server.registration_key) == ("standalone", "s e c r e t")
    assert (server.computer_title, server.tags) == ("Press 7", ("office", "linux"))
    assert (server.access_group, server.ca_file) == ("presses", Path("/etc/landscape/ca.pem"))
    assert server.proxy == "http://proxy.example:3128"
    assert (config.exchange.interval, config.exchange.urgent_interval) == (600, 30)
    assert config.log.level == "warn"


def test_each_option_has_a_note(tmp_path: Path) -> None:
    """Carried over, or left out with the reason and what there is instead."""
    imported = import_landscape(theirs(tmp_path, USUAL))

    written = {line.split(" = ")[0] for line in USUAL.splitlines() if " = " in line}
    assert {note.option for note in imported.notes} == written
    left = {note.option: note.text for note in imported.notes if not note.is_carried}
    assert left.keys() == {
        "data_path",
        "http_proxy",
        "include_manager_plugins",
        "script_users",
        "something_new",
    }
    assert "`state-dir` in [broker]" in left["data_path"]
    assert "execute-script" in left["script_users"]
    assert left["something_new"] == "there is nothing like it here"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("url = ftp://x.example", "url: left out: `url` must be an address such as"),
        ("exchange_interval = soon", "exchange_interval: left out: 'soon' is no whole number of seconds"),
        ("exchange_interval = 0", "exchange_interval: left out: `interval` must be at least 1"),
        ("ssl_public_key = base64:QUJD", "ssl_public_key: left out: it holds the certificate itself; write"),
        ("https_proxy = socks5://x", "https_proxy: left out: `proxy` must be an address such as"),
        ("log_level = loud", "log_level: left out: 'loud' is no level"),
        ("tags =", "tags: left out: it is empty"),
        (
            "account_name = a\n\tb",
            "account_name: left out: `account-name` must be one line of printable text",
        ),
    ],
)
def test_what_does_not_fit_is_left_out(tmp_path: Path, line: str, why: str) -> None:
    """The note says why; the rest is a configuration."""
    imported = import_landscape(theirs(tmp_path, f"[client]\n{line}\n"))

    assert any(str(note).startswith(why) for note in imported.notes), imported.notes
    assert load_config(ours(tmp_path, imported.toml())).server.protocol == "landscape"


def test_no_url(tmp_path: Path) -> None:
    """Where a landscape-client goes that is not told, we go too, and say so."""
    imported = import_landscape(theirs(tmp_path, "[client]\naccount_name = mine\n"))

    assert imported.table["server"]["url"] == "https://landscape.canonical.com/message-system"
    assert "url: it was not set" in str(imported.notes[-1])


def test_urgent_exchanges_are_no_later_than_others(tmp_path: Path) -> None:
    """Landscape takes any two numbers; we do not."""
    imported = import_landscape(theirs(tmp_path, "[client]\nexchange_interval = 40\n"))

    assert load_config(ours(tmp_path, imported.toml())).exchange.urgent_interval == 40


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"has no section \[client\]; name the file that landscape-client reads"),
        ("[server]\nurl = x\n", r"has no section \[client\]"),
        ("url = x\n", "is no INI file: .*no section headers"),
        ("[client]\nnonsense\n", "is no INI file: .*nonsense"),
        ("[client\n", "is no INI file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, why: str) -> None:
    """With the cause and the next step."""
    with pytest.raises(ImportFailed, match=why):
        import_landscape(theirs(tmp_path, text))


def test_octets_that_are_no_text(tmp_path: Path) -> None:
    """Nor is what is too large, or not there."""
    file = tmp_path / "client.conf"
    file.write_bytes(b"[client]\nurl = \xff\n")
    with pytest.raises(ImportFailed, match="is not UTF-8 at octet 15"):
        import_landscape(file)
    file.write_bytes(b"#" * 2_000_000)
    with pytest.raises(ImportFailed, match="is larger than 1048576 octets"):
        import_landscape(file)
    with pytest.raises(ImportFailed, match="cannot be read: no such file"):
        import_landscape(tmp_path / "nothing")
    with pytest.raises(ImportFailed, match="cannot be read: is a directory"):
        import_landscape(tmp_path)


@given(
    st.dictionaries(
        st.sampled_from(["url", "tags", "computer_title", "ssl_public_key", "http_proxy", "ping_interval"]),
        st.text(max_size=30),
    ),
)
def test_whatever_is_in_it_ours_is_right(
    tmp_path_factory: pytest.TempPathFactory, options: dict[str, str]
) -> None:
    """Quotes, control characters, anything: it is refused, left out, or written so that it is read again as it was."""
    folder = tmp_path_factory.mktemp("any")
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    file = folder / "client.conf"
    file.write_bytes(f"[client]\n{lines}".encode("utf-8", "surrogatepass"))
    try:
        imported = import_landscape(file)
    except ImportFailed:
        return

    config = load_config(ours(folder, imported.toml()))
    assert config.server.computer_title == imported.table["server"].get("computer-title")


def test_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Configuration on the standard output, notes on the standard error: the one can go into a file."""
    with pytest.raises(SystemExit) as ended:
        main(["config", "import-landscape", str(theirs(tmp_path, USUAL))])

    output = capsys.readouterr()
    assert ended.value.code == 0
    assert load_config(ours(tmp_path, output.out)).server.account_name == "standalone"
    assert "url: carried over as `url` in [server]\n" in output.err
    assert "log_level: carried over as `level` in [log]\n" in output.err


def test_command_writes_a_new_file(tmp_path: Path) -> None:
    """For its owner's eyes; one that is there is left as it is."""
    written = tmp_path / "new.toml"

    assert run(theirs(tmp_path, USUAL), "--output", written).exit_code == 0
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert load_config(written).server.url == "https://landscape.example/message-system"

    written.write_text("mine")
    again = run(theirs(tmp_path, USUAL), "--output", written)
    assert (again.exit_code, written.read_text()) == (1, "mine")
    assert "is there already; name another file" in again.output
    assert run(tmp_path / "nothing").exit_code == 1
