"""
The Debian packages, built from what git knows of this work tree, in three versions: this one, a next one and an early one.

The next version differs in what an upgrade can go wrong with: its number, and a further step of both databases' schemas
that older versions cannot use. The early one comes out of git's history: the last in which both schemas had one step. What
was built is kept as long as the sources are the same.
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
_ENTRY = "{package} ({version}) {rest}\n\n  * Another version, for a test of upgrades.\n\n{signature}\n\n"


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
    """What there is to install; `early` is None where git has no history."""

    this: Packages
    next: Packages
    early: Packages | None


Fill = Callable[[Path], None]
"""What puts the sources into an empty folder."""


def build_all(root: Path, place: Path) -> Builds:
    """All versions, below `place`."""
    files = {name: root / name for name in _tracked(root)}
    commit = _early_commit(root)
    folder, kept = place / _key(files), place / f"of-{commit}"
    with ThreadPoolExecutor() as threads:
        this = threads.submit(_built, _copying(files), folder / "this")
        later = threads.submit(_built, _copying(files, _make_next), folder / "next")
        early = threads.submit(_built, _archived(root, commit), kept / "early") if commit else None
        builds = Builds(this=this.result(), next=later.result(), early=early.result() if early else None)
    for old in place.iterdir():
        if old not in (folder, kept):
            shutil.rmtree(old)
    return builds


def _early_commit(root: Path) -> str | None:
    """The one before that which brought a schema's second step; None where the history does not reach back so far."""
    if _git(root, "rev-parse", "--is-shallow-repository").strip() != "false":
        return None
    added = _git(root, "log", "--diff-filter=A", "--format=%P", "--", ":(glob)**/schema/0002.sql")
    return added.split()[-1]


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout


def _tracked(root: Path) -> Iterator[str]:
    return (name for name in _git(root, "ls-files", "-z").split("\0") if name and (root / name).is_file())


def _key(files: dict[str, Path]) -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for name, file in sorted(files.items()):
        digest.update(
            f"{name}\0{file.stat().st_mode}\0".encode() + hashlib.sha256(file.read_bytes()).digest()
        )
    return digest.hexdigest()[:16]


def _copying(files: dict[str, Path], change: Fill = lambda source: None) -> Fill:
    def fill(source: Path) -> None:
        for name, file in files.items():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
        change(source)

    return fill


def _archived(root: Path, commit: str) -> Fill:
    def fill(source: Path) -> None:
        source.mkdir(parents=True)
        tar = source.with_suffix(".tar")
        _git(root, "archive", f"--output={tar}", commit)
        subprocess.run(["tar", "--extract", f"--file={tar}", f"--directory={source}"], check=True)
        _renumber(source / "debian" / "changelog", "~early")

    return fill


def _built(fill: Fill, folder: Path) -> Packages:
    source = folder.with_name(f"{folder.name}-source") / "fieldpost"
    if not folder.exists():
        shutil.rmtree(source.parent, ignore_errors=True)
        fill(source)
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
    _renumber(source / "debian" / "changelog", "+next")
    schemas = {file.parent for part in PARTS for file in (source / part).rglob("schema/[0-9]*.sql")}
    assert len(schemas) == len(PARTS), f"{PARTS} have a schema each, but there are {schemas}"
    for schema in schemas:
        number = 1 + max(int(file.name[:4]) for file in schema.glob("[0-9]*.sql"))
        (schema / f"{number:04}.sql").write_text(_STEP.format(number=number))


def _renumber(changelog: Path, ending: str) -> None:
    text = changelog.read_text()
    package, version, rest = text.splitlines()[0].split(" ", 2)
    signature = next(line for line in text.splitlines() if line.startswith(" -- "))
    other = version.strip("()") + ending
    changelog.write_text(_ENTRY.format(package=package, version=other, rest=rest, signature=signature) + text)
