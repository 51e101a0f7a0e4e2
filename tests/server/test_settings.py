"""The sample configuration is right, the documentation names every option, and mistakes are told by line."""

from pathlib import Path

import pytest

from fieldpost.runtime.settings import SettingsError, options_of
from fieldpost.server.policy import BUNDLED_TYPES, CORE_TYPES
from fieldpost.server.settings import (
    LimitsSection,
    ServerSettings,
    SessionSection,
    api_token_of,
    catalogue_of,
    load_settings,
    policy_of,
    with_credentials,
)

ROOT = Path(__file__).parents[2]
LEAST = """
[server]
state-dir = "state"
listen = ["tcp:0"]
[account.a]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "server.toml"
    path.write_text(text)
    return path


def problem_with(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings = load_settings(write(folder, text))
        policy_of(settings)
        api_token_of(settings)
    return str(caught.value)


def test_sample() -> None:
    """The sample loads, and says what is the case without it."""
    settings = load_settings(ROOT / "conf" / "server.toml")

    assert settings.limits == LimitsSection()
    assert settings.intake.accepted_types == BUNDLED_TYPES
    assert settings.intake.max_octets == 30_000_000
    assert not settings.accounts["standard"].auto_accept


def test_documentation() -> None:
    """docs/server.md has every option."""
    text = (ROOT / "docs" / "server.md").read_text()

    assert [note.name for note in options_of(ServerSettings) if f"| `{note.name}` |" not in text] == []


def test_least(tmp_path: Path) -> None:
    """A folder, an endpoint and an account are enough; paths start at the file."""
    settings = load_settings(write(tmp_path, LEAST))

    assert settings.server.state_dir == tmp_path / "state"
    assert api_token_of(settings) is None
    policy = policy_of(settings)
    assert set(policy.accepted.types) == {*BUNDLED_TYPES, *CORE_TYPES}
    assert policy.accounts["a"].admits(None)


def test_drop_in(tmp_path: Path) -> None:
    """What lies in the folder beside the file is laid over it."""
    (tmp_path / "server.d").mkdir()
    (tmp_path / "server.d" / "10.toml").write_text("[limits]\nidle = 5\n")

    assert load_settings(write(tmp_path, LEAST)).limits.idle == 5.0


def test_secrets_from_files(tmp_path: Path) -> None:
    """Keys and the token may lie in files of their own, with the newline that editors add."""
    (tmp_path / "key").write_text("the key\n")
    (tmp_path / "token").write_text("the token\n")
    text = LEAST.replace("listen", 'api-token-file = "token"\nlisten') + 'registration-key-file = "key"\n'

    settings = load_settings(write(tmp_path, text))

    assert api_token_of(settings) == "the token"
    assert policy_of(settings).accounts["a"].registration_key == "the key"


def test_secrets_in_the_file(tmp_path: Path) -> None:
    """Or in the configuration itself."""
    text = LEAST.replace("listen", 'api-token = "t"\nlisten') + 'registration-key = "k"\nauto-accept = true\n'

    settings = load_settings(write(tmp_path, text))

    assert api_token_of(settings) == "t"
    assert policy_of(settings).accounts["a"].auto_accept


@pytest.mark.parametrize(
    ("before", "after", "hint"),
    [
        ("state-dir", "state-dirr", "did you mean `state-dir`"),
        ('["tcp:0"]', '"tcp:0"', "server.toml:4: server.listen: must be a list"),
        ('["tcp:0"]', "[]", "`listen` must name at least one endpoint"),
        ("[account.a]", "", "write an [account.NAME] section"),
        ("[account.a]", "[account.a]\nauto-accept = true", "would let anybody in"),
        (
            "[account.a]",
            "[account.a]\nauto-acept = true",
            "server.toml:6: account.a.auto-acept: there is no such",
        ),
        ("[account.a]", '[account.a]\nregistration-key = ""', "must be printable text"),
        (
            "[account.a]",
            '[account.a]\nregistration-key = "a"\nregistration-key-file = "b"',
            "give `registration-key` or `registration-key-file`, not both",
        ),
        (
            "listen",
            'api-token = "a"\napi-token-file = "b"\nlisten',
            "give `api-token` or `api-token-file`, not both",
        ),
        ("listen", 'api-token-file = "none"\nlisten', "no such file"),
        ("listen", 'api-token-file = "empty"\nlisten', "/empty: "),
        ("listen", 'api-token-file = "binary"\nlisten', "/binary: "),
        ("[account.a]", "[account.a]\n[limits]\nall-bodies = 20_000", "`limits.all-bodies` must be at least"),
        ("[account.a]", "[account.a]\n[limits]\nidle = 0", "must be at least 1 seconds"),
        ("[account.a]", '[account.a]\n[intake]\naccepted-types = ["a;b"]', "without `;`"),
    ],
)
def test_mistakes(tmp_path: Path, before: str, after: str, hint: str) -> None:
    """Each mistake is told with what would be right."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")

    assert hint in problem_with(tmp_path, LEAST.replace(before, after))


def test_session(tmp_path: Path) -> None:
    """Sessions are served unless they are turned off; ids that moved have whole addresses."""
    assert load_settings(write(tmp_path, LEAST)).session == SessionSection()

    moved = '[session.moved]\n"s:old" = "https://other.example/session/default"\n'
    settings = load_settings(write(tmp_path, f"{moved}{LEAST}"))

    assert settings.session.moved == {"s:old": "https://other.example/session/default"}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('certificate-file = "a"', "give both of `certificate-file` and `key-file`"),
        ('client-ca-file = "a"', "`session.client-ca-file` goes with TLS of this server's"),
        ('moved = {a = "nowhere"}', "must be a whole address"),
        ("ping = 60", "session.ping"),
    ],
)
def test_session_mistakes(tmp_path: Path, text: str, part: str) -> None:
    """What would let no session work is said at the start."""
    assert part in problem_with(tmp_path, f"[session]\n{text}\n{LEAST}")


@pytest.mark.parametrize("more", ["", 'certificate-file = "c"\nkey-file = "k"'])
def test_clients_certificates_go_with_either_tls(tmp_path: Path, more: str) -> None:
    """An endpoint's, or that inside a session."""
    text = f'[session]\nclient-ca-file = "a"\n{more}\n{LEAST}'

    settings = load_settings(write(tmp_path, text if more else text.replace("tcp:0", "ssl:0")))

    assert settings.session.client_ca_file == tmp_path / "a"


def test_a_credential_takes_the_place_of_a_missing_key(tmp_path: Path) -> None:
    """The service manager hands the key of a session's TLS to the process, as it does with other secrets."""
    (tmp_path / "tls-key").write_text("KEY")
    section = SessionSection(certificate_file=Path("/etc/cert.pem"), key_file=Path("/etc/tls-key"))

    found = with_credentials(section, {"CREDENTIALS_DIRECTORY": str(tmp_path)})

    assert (found.certificate_file, found.key_file) == (section.certificate_file, tmp_path / "tls-key")
    assert with_credentials(section, {}) == section


DECLARED = """
[messages.acme-load]
about = "The load."
[messages.acme-load.fields]
load = { kind = "number" }
points = { kind = "rows of time integer, load number", optional = true }
"""


def test_declared_types(tmp_path: Path) -> None:
    """A drop-in declares what plugins send, in the words of their manifests; the built-in types stay."""
    (tmp_path / "server.d").mkdir()
    (tmp_path / "server.d" / "acme.toml").write_text(DECLARED)

    declarations = catalogue_of(load_settings(write(tmp_path, LEAST))).declarations

    assert [field.name for field in declarations["acme-load"].fields] == ["load", "points"]
    assert "cpu-usage" in declarations


def test_declared_amiss(tmp_path: Path) -> None:
    """A slip is told with its line, a type that is there already by its name."""
    said = problem_with(tmp_path, LEAST + DECLARED.replace("number", "numer", 1))
    assert "server.toml:10: messages.acme-load.fields.load.kind: 'numer' is no kind" in said

    said = problem_with(tmp_path, LEAST + '[messages."CPU-Usage"]\n')
    assert "`CPU-Usage` is declared already" in said
