"""What twistd finds of us."""

import subprocess
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from twisted.application.service import IServiceMaker, ServiceMaker
from zope.interface.verify import verifyObject

from fieldpost.agent.run import ROLES

NAMES = ("fieldpost-broker", "fieldpost-plugin", "fieldpost-server")
PLUGIN_FILE = Path(__file__).parents[2] / "twisted" / "plugins" / "fieldpost_plugin.py"


def makers() -> dict[str, ServiceMaker]:
    spec = spec_from_file_location("fieldpost_plugin_as_found", PLUGIN_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return {maker.tapname: maker for maker in vars(module).values() if isinstance(maker, ServiceMaker)}


def test_makers() -> None:
    """There are three, whose modules have what twistd calls; the roles of our own start are the same."""
    assert set(makers()) == set(NAMES)
    assert {maker.module for maker in makers().values()} == set(ROLES.values())
    for maker in makers().values():
        verifyObject(IServiceMaker, maker)
        module = import_module(maker.module)
        assert callable(module.makeService)
        assert module.Options().optParameters


@pytest.mark.process
def test_twistd_finds_them() -> None:
    """twistd, started where we are installed or checked out, knows our names, and tells what is wrong without a traceback."""
    program = "import sys; sys.path.insert(0, '.'); from twisted.scripts.twistd import run; run()"
    ended = subprocess.run(
        [sys.executable, "-c", program, "-n", "--pidfile=", "fieldpost-broker", "--config", "/nowhere.toml"],
        capture_output=True,
        check=False,
        text=True,
        cwd=PLUGIN_FILE.parents[2],
        timeout=120,
    )

    assert ended.returncode == 1
    assert "/nowhere.toml: cannot be read: no such file or directory" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
