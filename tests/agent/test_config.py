"""The agent's configuration."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldpost.agent.config import AgentConfig, load_config, registration_key
from fieldpost.runtime.settings import SettingsError, options_of

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "conf" / "agent.toml"


@pytest.fixture
def file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "agent.toml"


def complaint(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(SettingsError) as raised:
        load_config(file)
    return str(raised.value).replace(f"{file}:", "")


def test_sample(file: Path) -> None:
    """The sample configuration loads, its drop-in too."""
    config = load_config(SAMPLE)

    assert config.server.url == "https://fieldpost.example/message-system"
    assert config.exchange.interval == 300.0


def test_sample_shows_the_defaults(file: Path) -> None:
    """What the sample shows behind `#` is what holds without it."""
    kept = re.sub(r"^# (?=(?:[a-z-]+) = )", "", SAMPLE.read_text(), flags=re.MULTILINE)
    needless = r"(?m)^(ca-file|registration-key-file|computer-title|tags|proxy|no-proxy|user|max-age|ping-url|access-group|server-id|certificate-file|key-file) = .*\n"
    file.write_text(re.sub(needless, "", kept))
    shown = load_config(file)

    shutil.copy(SAMPLE, file)
    assert load_config(file) == shown


def test_sample_shows_every_option() -> None:
    """No option is missing in the sample, but for the key that should stand in a file of its own."""
    shown = re.findall(r"^(?:# )?([a-z-]+) = ", SAMPLE.read_text(), flags=re.MULTILINE)

    assert [
        note.name.rpartition(".")[2]
        for note in options_of(AgentConfig)
        if "registration-key" not in note.name
    ] == [name for name in shown if name != "registration-key-file"]


def test_every_option_is_documented() -> None:
    """docs/configuration.md names each option in the table of its section, and no other."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    documented = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        name = section[1 : section.index("]")]
        documented += [
            f"{name}.{option}" for option in re.findall(r"^\| `([a-z-]+)` \|", section, flags=re.MULTILINE)
        ]

    assert [note.name for note in options_of(AgentConfig)] == documented


def test_example_of_a_complaint(file: Path) -> None:
    """The complaints shown in docs/configuration.md are those that come."""
    file.write_text('[server]\nurl = "https://a/"\n' + "\n" * 10 + "[exchange]\nintervall = 5\n")
    (file.with_suffix(".d")).mkdir()
    (file.with_suffix(".d") / "10-site.toml").write_text("\n[store]\nmax-octets = 1000\n")

    with pytest.raises(SettingsError) as raised:
        load_config(file)

    documented = (ROOT / "docs" / "configuration.md").read_text()
    for line in str(raised.value).splitlines():
        assert line.replace(str(file.parent), "/etc/fieldpost") in documented


@pytest.mark.parametrize(
    "url",
    [
        "",
        "server.example",
        "ftp://a/",
        "https://",
        "https://a b/",
        "https://a:b/",
        "https://[/",
        "https://\u00e4/",
    ],
)
def test_wrong_url(file: Path, url: str) -> None:
    """An address that cannot be spoken to is refused before anything runs."""
    assert '2: server.url: must be an address such as "https://server.example/message-system"' in complaint(
        file, f'[server]\nurl = "{url}"\n'
    )


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (
            "[exchange]\nurgent-interval = 1000",
            "3: exchange: urgent-interval must not be longer than interval",
        ),
        (
            "certificate-file = 'a.pem'\n[log]",
            "1: server: certificate-file and key-file go together",
        ),
        ("server-id = 'a:1'\n[log]", 'must be a server\'s id such as "s:abc123"'),
        ("[exchange]\nbackoff-base = 9000", "3: exchange: backoff-base must not be more than backoff-cap"),
        ('[log]\nlevel = "warning"', "did you mean `warn`?"),
        ("[store]\nmax-octets = 5", "4: store.max-octets: must be at least"),
        ('[broker]\nuser = ""', "4: broker.user: must be one line of printable text"),
    ],
)
def test_wrong_values(file: Path, section: str, expected: str) -> None:
    """Values that cannot work together, or at all, are refused with the reason."""
    assert expected in complaint(file, f'[server]\nurl = "https://a/"\n{section}\n')


def test_both_keys(file: Path) -> None:
    """A key is given in one way."""
    assert "either registration-key or registration-key-file" in complaint(
        file, '[server]\nurl = "https://a/"\nregistration-key = "a"\nregistration-key-file = "b"'
    )


def test_title(file: Path) -> None:
    """Without a title, the computer has the host's name."""
    file.write_text('[server]\nurl = "https://a/"')
    assert load_config(file).computer_title

    file.write_text('[server]\nurl = "https://a/"\ncomputer-title = "mine"')
    assert load_config(file).computer_title == "mine"


def test_key_in_a_file(file: Path) -> None:
    """The key comes from its file, beside the configuration, without the end of its line."""
    file.write_text('[server]\nurl = "https://a/"\nregistration-key-file = "key"')
    (file.parent / "key").write_text("s3cret\n")

    assert registration_key(load_config(file).server, {}) == "s3cret"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"one\ntwo\n", b"\xff"])
def test_wrong_key_file(file: Path, content: bytes | None) -> None:
    """A key file that is missing or holds no key is named with what to do."""
    file.write_text('[server]\nurl = "https://a/"\nregistration-key-file = "key"')
    if content is not None:
        (file.parent / "key").write_bytes(content)

    with pytest.raises(
        SettingsError, match=r"server\.registration-key-file.*(check the path|put the secret into it)"
    ):
        registration_key(load_config(file).server, {})


@pytest.mark.parametrize("line", ['ping-url = "https://x.example/ping"', 'access-group = "presses"'])
def test_options_of_landscape_need_its_protocol(file: Path, line: str) -> None:
    """Nobody shall believe that they work with another."""
    file.write_text(f"[server]\n{line}\n")
    with pytest.raises(SettingsError, match='need protocol = "landscape"; add it, or leave them out'):
        load_config(file)

    file.write_text(f'[server]\nprotocol = "landscape"\n{line}\n')
    assert load_config(file).server.protocol == "landscape"
