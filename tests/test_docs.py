"""What the documentation names exists."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = (
    "wire",
    "runtime",
    "broker",
    "plugins",
    "server",
    "agent",
    "testing",
    "conf",
    "benchmarks",
    "docs",
    "tests",
)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
FILE = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_each_link_leads_somewhere(page: Path) -> None:
    """A page that is linked to is there."""
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]

    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_each_file_that_is_named_exists(page: Path) -> None:
    """A page that says where something happens says so truly."""
    missing = [name for name in FILE.findall(page.read_text()) if not (ROOT / name).exists()]

    assert not missing


def test_the_readme_fits_two_screens() -> None:
    """Nobody reads more before trying."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


def test_each_make_target_of_the_readme_exists() -> None:
    """What the README says to type can be typed."""
    targets = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text()))

    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert targets
    assert targets <= known


def test_each_page_of_the_documentation_can_be_reached_from_the_readme() -> None:
    """No page is lost: following links from the README finds all of them."""
    reached, left = set(), {ROOT / "README.md", ROOT / "CHANGELOG.md"}
    while left:
        page = left.pop()
        reached.add(page)
        links = {(page.parent / link).resolve() for link in LINK.findall(page.read_text())}
        folders = {inner for link in links if link.is_dir() for inner in link.glob("*.md")}
        left |= {link for link in links | folders if link.suffix == ".md" and link.exists()} - reached

    assert not [_name(page) for page in PAGES if page not in reached]


def test_the_repository_holds_no_build_products() -> None:
    """What is made is not kept."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()

    assert not [
        name for name in listed if name.endswith((".pyc", ".whl", ".deb")) or name.startswith("build/")
    ]
