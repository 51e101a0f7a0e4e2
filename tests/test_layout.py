"""The package is what the folders say."""

import subprocess
import sys
import zipfile
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import fieldpost

ROOT = Path(__file__).parent.parent
FOLDERS = ("wire", "runtime", "broker", "plugins", "server", "agent", "testing")


def test_the_version_is_said_once_in_code_and_once_in_the_metadata() -> None:
    """The package and its metadata name one version."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")

    assert setup["metadata"]["version"] == fieldpost.__version__


def test_each_folder_is_a_subpackage_that_says_what_it_is_for() -> None:
    """What stands beside the root's `__init__.py` is importable below `fieldpost`."""
    for folder in FOLDERS:
        assert import_module(f"fieldpost.{folder}").__doc__


def test_twisted_is_not_hidden_by_our_plugin_folder() -> None:
    """`twisted/` in the root holds plugins only: an `__init__.py` there would hide Twisted itself."""
    assert not list((ROOT / "twisted").rglob("__init__.py"))


def test_a_wheel_holds_the_folders_and_nothing_of_the_root(tmp_path: Path) -> None:
    """Setup scripts, tests and benchmarks stay out of an installed Fieldpost; schemas and the twistd plugin are in."""
    source = tmp_path / "source"
    source.mkdir()
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    for name in files or [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()]:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    build = "import sys, setuptools.build_meta as m; print(m.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}

    assert {n.split("/")[0] for n in names} == {"fieldpost", "twisted"}
    assert {n.split("/")[1] for n in names if n.startswith("fieldpost/")} == {"__init__.py", *FOLDERS}
    assert "twisted/plugins/fieldpost_plugin.py" in names
    for folder in ("broker/store", "server"):
        assert any(n.startswith(f"fieldpost/{folder}/schema/") and n.endswith(".sql") for n in names)
