"""Secrets that stand in files of their own, so that configuration can be read by everybody."""

from collections.abc import Mapping
from pathlib import Path

from .settings import SettingsError
from .toml_source import Problem

MAX_SECRET_OCTETS = 4096


def read_secret(file: Path, *, option: str, environ: Mapping[str, str]) -> str:
    """
    The one line of text in a file; `option` is where its path was configured.

    Where the file is missing, a credential of its name that the service manager passed to this process takes its
    place (systemd's LoadCredential=). Raises SettingsError.
    """
    place = place_of(file, environ)
    try:
        with place.open("rb") as stream:
            text = stream.read(MAX_SECRET_OCTETS).decode().strip()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _problem(
            place, option, f"cannot be read: {reason}; check the path, and who may read it"
        ) from None
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise _problem(place, option, "does not hold one line of printable text; put the secret into it")
    return text


def place_of(file: Path, environ: Mapping[str, str]) -> Path:
    """Where a file is to be read: what the service manager passed under its name takes the place of a missing one."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder) / file.name if folder else None
    return credential if credential is not None and credential.exists() and not file.exists() else file


def _problem(file: Path, option: str, text: str) -> SettingsError:
    return SettingsError([Problem(file=file, option=option, text=text)])
