"""
The Debian packages, built from what git knows of this work tree, in two versions: this one, and a next one.

The next version differs in what an upgrade can go wrong with: its number, and a further step of both databases' schemas
that older versions cannot use. What was built is kept as long as the sources are the same.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import frozen

PARTS = ("broker", "server")
"""What has a database."""

_STEP = "-- oldest-compatible: {number}\n-- A later version's.\n\nCREATE TABLE from_a_later_version (id INTEGER PRIMARY KEY) STRICT;\n"
_ENTRY = "{package} ({version}) {rest}\n\n  * A later version, for a test of upgrades.\n\n{signature}\n\n"


@frozen(kw_only=True)
class Packages:
    """All packages of one version, in a folder."""

    folder: Path
    version: str

    def files(self) -> list[Path]:
        """Each package's file."""
        return sorted(self.folder.glob("*.deb"))

    def names(self) -> list[str]:
        """Each package's name."""
        return [file.name.split("_")[0] for file in self.files()]


@frozen(kw_only=True)
class Builds:
    """What there is to install."""

    this: Packages
    next: Packages


def build_both(root: Path, place: Path) -> Builds:
    """Both versions, below `place`."""
    files = {name: root / name for name in _tracked(root)}
    folder = place / _key(files)
    with ThreadPoolExecutor() as threads:
        this = threads.submit(_built, files, folder / "this", lambda source: None)
        later = threads.submit(_built, files, folder / "next", _make_next)
        builds = Builds(this=this.result(), next=later.result())
    for old in place.iterdir():
        if old != folder:
            shutil.rmtree(old)
    return builds


def _tracked(root: Path) -> Iterator[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True)
    return (name for name in listed.stdout.split("\0") if name and (root / name).is_file())


def _key(files: dict[str, Path]) -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for name, file in sorted(files.items()):
        digest.update(
            f"{name}\0{file.stat().st_mode}\0".encode() + hashlib.sha256(file.read_bytes()).digest()
        )
    return digest.hexdigest()[:16]


def _built(files: dict[str, Path], folder: Path, change: Callable[[Path], None]) -> Packages:
    source = folder.with_name(f"{folder.name}-source") / "fieldpost"
    if not folder.exists():
        shutil.rmtree(source.parent, ignore_errors=True)
        for name, file in files.items():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
        change(source)
        _build(source)
        made = folder.with_suffix(".new")
        made.mkdir(exist_ok=True)
        for deb in source.parent.glob("*.deb"):
            deb.rename(made / deb.name)
        made.rename(folder)
        shutil.rmtree(source.parent)
    version = next(folder.glob("fieldpost-agent_*.deb")).name.split("_")[1]
    return Packages(folder=folder, version=version)


def _build(source: Path) -> None:
    """The tests have run elsewhere; here it is about the packages."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": os.environ.get("HOME", "/root"),
        "LANG": "C.UTF-8",
        "DEB_BUILD_OPTIONS": "nocheck",
    }
    command = ["dpkg-buildpackage", "--build=binary", "--no-sign", "--build-profiles=nocheck"]
    log = source.parent.with_suffix(".log")
    with log.open("wb") as stream:
        ran = subprocess.run(command, cwd=source, env=environment, stdout=stream, stderr=stream, check=False)
    if ran.returncode:
        raise AssertionError(f"dpkg-buildpackage failed; {log} ends with\n{log.read_text()[-3000:]}")


def _make_next(source: Path) -> None:
    _bump(source / "debian" / "changelog")
    schemas = {file.parent for part in PARTS for file in (source / part).rglob("schema/[0-9]*.sql")}
    assert len(schemas) == len(PARTS), f"{PARTS} have a schema each, but there are {schemas}"
    for schema in schemas:
        number = 1 + max(int(file.name[:4]) for file in schema.glob("[0-9]*.sql"))
        (schema / f"{number:04}.sql").write_text(_STEP.format(number=number))


def _bump(changelog: Path) -> None:
    text = changelog.read_text()
    package, version, rest = text.splitlines()[0].split(" ", 2)
    signature = next(line for line in text.splitlines() if line.startswith(" -- "))
    later = version.strip("()") + "+next"
    changelog.write_text(_ENTRY.format(package=package, version=later, rest=rest, signature=signature) + text)
