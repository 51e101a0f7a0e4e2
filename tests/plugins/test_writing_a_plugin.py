"""The pages for plugin authors are true: their examples run, and they name all that there is."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fieldpost.plugins
import fieldpost.testing
from fieldpost.agent.host import load_plugin
from fieldpost.agent.manifest import Manifest, catalogue_of, load_manifests
from fieldpost.plugins import Plugin
from fieldpost.plugins.declaration import HOOKS, declaration_of
from fieldpost.runtime.settings import options_of
from fieldpost.testing import PluginRun
from fieldpost.wire.errors import Malformed

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "writing-a-plugin.md").read_text()
BUNDLED = (ROOT / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def example(name: str) -> str:
    """The example whose first line names its file."""
    (text,) = (text for _, text in BLOCKS if text.startswith(f"# {name}\n"))
    return str(text)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Path]:
    """The page's examples, as files that can be imported."""
    for name in ("acme_load.py", "acme_tasks.py", "test_acme_load.py"):
        (tmp_path / name).write_text(example(name))
    (readme,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "readme_example.py").write_text(readme)
    manifest, declared = (text for kind, text in BLOCKS if kind == "toml")
    (tmp_path / "acme-load.toml").write_text(manifest + declared)
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    for module in ("acme_load", "acme_tasks", "test_acme_load", "readme_example"):
        sys.modules.pop(module, None)


def imported(name: str) -> ModuleType:
    return __import__(name)


def test_the_plugin_fits_its_manifest(written: Path) -> None:
    """Name, rights and settings."""
    loaded = load_plugin(Manifest.read(written / "acme-load.toml"))

    assert loaded.declaration.name == "acme-load"
    assert (loaded.settings.interval, loaded.settings.alarm) == (60, 4)


def test_what_the_plugin_sends_is_as_it_declares(written: Path) -> None:
    """The broker would take it."""
    catalogue = catalogue_of([Manifest.read(written / "acme-load.toml")])
    message = {"type": "acme-load", "time": 1, "load": 0.5}

    assert catalogue.fit(message) is message
    with pytest.raises(Malformed, match="`load` must be a number"):
        catalogue.fit({**message, "load": "high"})


def test_the_tests_of_the_plugin_pass(written: Path) -> None:
    """As its author would run them."""
    tests = {
        name: test for name, test in vars(imported("test_acme_load")).items() if name.startswith("test_")
    }

    assert len(tests) == 3
    for test in tests.values():
        test()


def test_the_monitor_reports(written: Path) -> None:
    """This machine's own figures."""
    run: PluginRun[Any] = PluginRun(imported("acme_tasks").Tasks)

    run.advance(1)

    ((_, tasks),) = run.messages[0]["tasks"]
    assert tasks > 0


def test_the_example_of_the_readme_runs(written: Path) -> None:
    """It is the first that anybody sees."""
    run: PluginRun[Any] = PluginRun(imported("readme_example").Uptime)

    run.advance(70)

    assert [set(message) for message in run.messages] == [{"type", "seconds"}] * 2


@pytest.mark.parametrize(
    "name", sorted({*fieldpost.plugins.__all__, *fieldpost.testing.__all__} - {"NoSettings"})
)
def test_the_page_names_everything_that_authors_import(name: str) -> None:
    """What is public is explained."""
    assert re.search(rf"\b{name}\b", PAGE)


def test_the_page_names_every_method_that_is_called() -> None:
    """And everything that a class may say of itself."""
    for method, arguments in HOOKS.values():
        assert f"`{method}({', '.join(arguments)})`" in PAGE
    for name in (*Plugin.__annotations__, "run", "reset", "on_start", "on_stop"):
        assert f"`{name}" in PAGE


@pytest.mark.parametrize("manifest", load_manifests(ROOT / "conf" / "plugins.d"), ids=lambda m: m.name)
def test_the_page_of_bundled_plugins_names_their_types_and_settings(manifest: Manifest) -> None:
    """Each in the section that has its name."""
    kind = load_plugin(manifest).kind
    (section,) = (part for part in BUNDLED.split("\n## ")[1:] if manifest.name in part.splitlines()[0])

    declaration = declaration_of(kind)
    for word in (
        *declaration.sends,
        *declaration.handlers,
        *(note.name for note in options_of(kind.Settings)),
    ):
        assert f"`{word}`" in section
