"""A secret is read from its file, or from what the service manager passed; anything else is said."""

from pathlib import Path

import pytest

from fieldpost.runtime.secret import place_of, read_secret
from fieldpost.runtime.settings import SettingsError


def _read(file: Path, **environ: str) -> str:
    return read_secret(file, option="server.key-file", environ=environ)


def test_the_secret_is_the_one_line_of_the_file(tmp_path: Path) -> None:
    """White space around it is an editor's."""
    (tmp_path / "key").write_text("  open sesame\n")

    assert _read(tmp_path / "key") == "open sesame"


def test_a_credential_of_the_service_manager_takes_the_place_of_a_missing_file(tmp_path: Path) -> None:
    """The unit passes the secret; the file itself may be unreadable for us, or not exist."""
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "key").write_text("passed")

    assert _read(tmp_path / "key", CREDENTIALS_DIRECTORY=str(tmp_path / "credentials")) == "passed"


def test_a_file_that_exists_goes_before_a_credential(tmp_path: Path) -> None:
    """What the configuration names is what is meant."""
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "key").write_text("passed")
    (tmp_path / "key").write_text("named")

    assert _read(tmp_path / "key", CREDENTIALS_DIRECTORY=str(tmp_path / "credentials")) == "named"


def test_a_file_that_is_nowhere_stays_where_it_was_named(tmp_path: Path) -> None:
    """So that whoever misses it names that place."""
    assert place_of(tmp_path / "ca.pem", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == tmp_path / "ca.pem"
    assert place_of(tmp_path / "ca.pem", {"CREDENTIALS_DIRECTORY": "/nowhere"}) == tmp_path / "ca.pem"


@pytest.mark.parametrize("octets", [b"", b" \n", b"two\nlines", b"\xff\xfe", b"bell\x07"])
def test_what_is_no_line_of_text_is_refused(tmp_path: Path, octets: bytes) -> None:
    """Rather than sent somewhere."""
    (tmp_path / "key").write_bytes(octets)

    with pytest.raises(SettingsError, match="does not hold one line"):
        _read(tmp_path / "key")


def test_a_missing_file_is_named_with_its_option(tmp_path: Path) -> None:
    """The reader learns which file, which option, and why."""
    with pytest.raises(SettingsError, match=r"(?s)key.*server\.key-file.*cannot be read"):
        _read(tmp_path / "key", CREDENTIALS_DIRECTORY=str(tmp_path))
