"""What `fieldpost config check` finds that the broker's service would be passed."""

from pathlib import Path

import pytest

from fieldpost.agent.checkup import check_configuration
from fieldpost.runtime.settings import SettingsError


def _configured(folder: Path) -> Path:
    (folder / "plugins.d").mkdir()
    file = folder / "agent.toml"
    file.write_text('[server]\naccount-name = "main"\nregistration-key-file = "key"\n')
    return file


def test_a_key_that_systemd_passes_is_as_good_as_a_file(tmp_path: Path) -> None:
    """The command is no service; it looks where systemd would."""
    file, store = _configured(tmp_path), tmp_path / "credstore"
    store.mkdir()
    (store / "fieldpost-agent.key").write_text("secret\n")

    assert "is right" in check_configuration(file, credentials=store)


@pytest.mark.parametrize("text", ["", "two\nlines"])
def test_what_systemd_would_pass_is_read(tmp_path: Path, text: str) -> None:
    """A file without a key is told before the broker starts."""
    file, store = _configured(tmp_path), tmp_path / "credstore"
    store.mkdir()
    (store / "fieldpost-agent.key").write_text(text)

    with pytest.raises(SettingsError, match="does not hold one line"):
        check_configuration(file, credentials=store)


def test_a_key_that_is_nowhere_is_missed_where_it_was_named(tmp_path: Path) -> None:
    """Beside the configuration."""
    with pytest.raises(SettingsError, match=r"key: server\.registration-key-file: cannot be read"):
        check_configuration(_configured(tmp_path), credentials=tmp_path / "credstore")
