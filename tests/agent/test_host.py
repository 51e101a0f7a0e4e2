"""A plugin process loads what its manifests say, connects, runs, and ends with grace."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

from fieldpost.agent.host import PluginHost, PluginUnusable, load_plugin, make_host
from fieldpost.agent.manifest import Manifest, load_manifests
from fieldpost.plugins.computer_info import ComputerInfo
from fieldpost.plugins.cpu_usage import CpuUsage
from fieldpost.runtime.settings import SettingsError
from fieldpost.testing import result_of

ROOT = Path(__file__).parent.parent.parent
CPU = "fieldpost.plugins.cpu_usage:CpuUsage"


class Reactor(MemoryReactorClock):
    """One whose threads and processes are never used."""

    def callFromThread(self, callable: Any, *args: object, **kwargs: object) -> None:
        raise AssertionError("no thread is used here")


def manifest(name: str = "cpu-usage", module: str = CPU, **more: Any) -> Manifest:
    fields: dict[str, Any] = {"sends": ("cpu-usage",), "host": "monitors", **more}
    return Manifest(name=name, file=Path(f"/etc/fieldpost/plugins.d/{name}.toml"), module=module, **fields)


def text_of(trouble: Manifest) -> str:
    with pytest.raises(PluginUnusable) as caught:
        load_plugin(trouble)
    return str(caught.value)


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Path]:
    """A folder of modules that can be imported."""
    sys.path.insert(0, str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    sys.path.remove(str(tmp_path))
    for name in set(sys.modules) - before:
        del sys.modules[name]


# Loading


def test_a_plugin_is_loaded_with_its_settings(tmp_path: Path) -> None:
    """As its manifest says."""
    file = tmp_path / "cpu-usage.toml"
    file.write_text(f'module = "{CPU}"\nsends = ["cpu-usage"]\n[settings]\nstep = "1 min"\n')

    loaded = load_plugin(Manifest.read(file))

    assert loaded.kind is CpuUsage
    assert loaded.settings.step == 60


def test_all_bundled_plugins_can_be_loaded() -> None:
    """With the manifests that come with them: each grants what its plugin needs and nothing else."""
    for one in load_manifests(ROOT / "conf" / "plugins.d"):
        declaration = load_plugin(one).declaration

        assert set(one.sends) == set(declaration.sends)
        assert set(one.handles) == set(declaration.handlers)


def test_a_module_that_is_not_there_is_said() -> None:
    """With what to do."""
    found = text_of(manifest(module="fieldpost.plugins.cpu_usagge:CpuUsage"))

    assert found.startswith(
        "/etc/fieldpost/plugins.d/cpu-usage.toml: fieldpost.plugins.cpu_usagge cannot be imported"
    )
    assert "correct `module`, or install it" in found


def test_a_dependency_that_is_missing_is_not_taken_for_a_wrong_name(modules: Path) -> None:
    """The module is there; what it needs is not."""
    (modules / "acme_needy.py").write_text("import acme_missing\n")

    found = text_of(manifest(module="acme_needy:Load"))

    assert "No module named 'acme_missing'; install it" in found


def test_a_module_that_breaks_is_said(modules: Path) -> None:
    """With its own words."""
    (modules / "acme_broken.py").write_text("1 / 0\n")

    assert "fails when it is imported: ZeroDivisionError" in text_of(manifest(module="acme_broken:Load"))


@pytest.mark.parametrize(
    ("name", "words"),
    [("CpuUsagge", "is no class"), ("MIN_SECONDS", "is no class"), ("Times", "is no subclass of")],
)
def test_a_class_that_is_no_plugin_is_said(name: str, words: str) -> None:
    """Whatever it is instead."""
    assert words in text_of(manifest(module=f"fieldpost.plugins.cpu_usage:{name}"))


def test_a_plugin_that_is_made_wrong_is_said(modules: Path) -> None:
    """With its author's mistakes."""
    (modules / "acme_wrong.py").write_text(
        "from fieldpost.plugins import Plugin\nclass Load(Plugin):\n    name = 'cpu-usage'\n    interval = -1\n"
    )

    found = text_of(manifest(module="acme_wrong:Load"))

    assert "cpu-usage.toml: acme_wrong.Load is no plugin: `interval` must be" in found


def test_a_manifest_must_have_its_plugins_name() -> None:
    """The broker's rights go by the name."""
    assert "the plugin calls itself `cpu-usage`; call the file cpu-usage.toml" in text_of(
        manifest(name="cpu")
    )


def test_a_manifest_must_grant_what_its_plugin_needs() -> None:
    """Found here, not when the broker refuses the first message."""
    assert "`sends` must grant cpu-usage" in text_of(manifest(sends=("other",)))
    script = manifest("execute-script", "fieldpost.plugins.execute_script:ExecuteScript", sends=())
    assert "`handles` must grant execute-script" in text_of(script)


@pytest.mark.parametrize("sends", [("*",), ("cpu-usage", "more")])
def test_a_manifest_may_grant_more(sends: tuple[str, ...]) -> None:
    """It is whoever installed it who says so."""
    file = ROOT / "conf" / "plugins.d" / "cpu-usage.toml"
    one = Manifest(name="cpu-usage", file=file, module=CPU, host="monitors", sends=sends)

    assert load_plugin(one).kind is CpuUsage


# The process


def bundled(*names: str) -> list[Manifest]:
    return [one for one in load_manifests(ROOT / "conf" / "plugins.d") if one.name in names]


def host_of(*manifests: Manifest) -> tuple[PluginHost, Reactor]:
    reactor = Reactor()
    return make_host(manifests, socket=Path("/run/fieldpost/broker.sock"), reactor=reactor), reactor


def test_a_process_connects_to_the_socket_and_runs_its_plugins() -> None:
    """The broker may come later."""
    host, reactor = host_of(*bundled("cpu-usage", "computer-info"))

    host.startService()

    assert reactor.unixClients[0][0] == "/run/fieldpost/broker.sock"
    assert [type(runner.plugin) for runner in host.roster] == [ComputerInfo, CpuUsage]
    assert reactor.getDelayedCalls() != []


def test_a_process_ends_within_seconds_though_the_broker_is_away() -> None:
    """What could not be stored is said."""
    host, reactor = host_of(*bundled("memory-info"))
    host.startService()
    reactor.advance(2)

    with capturedLogs() as logs:
        stopped = host.stopService()
        for _ in range(7):
            reactor.advance(1)

    assert result_of(stopped) is None
    assert reactor.getDelayedCalls() == []
    assert host.connection.is_stopped
    assert any("storing what it sent" in str(event.get("what")) for event in logs)


def test_a_plugin_that_cannot_be_used_is_left_out_and_said() -> None:
    """The others run."""
    with capturedLogs() as logs:
        host, _ = host_of(*bundled("cpu-usage"), manifest("load", "no.such.module:Load"))

    assert [runner.name for runner in host.roster] == ["cpu-usage"]
    assert [event["plugin"] for event in logs] == ["load"]
    assert "no.such.module cannot be imported" in logs[0]["reason"]


def test_a_plugin_that_breaks_when_it_is_made_is_left_out_and_said(modules: Path) -> None:
    """With its traceback."""
    (modules / "acme_fragile.py").write_text(
        "from fieldpost.plugins import Plugin\nclass Load(Plugin):\n    name = 'load'\n"
        "    def __init__(self, context):\n        raise OSError('no sensor')\n"
    )
    (modules / "load.toml").write_text('module = "acme_fragile:Load"\n')

    with capturedLogs() as logs:
        host, _ = host_of(*bundled("cpu-usage"), Manifest.read(modules / "load.toml"))

    assert [runner.name for runner in host.roster] == ["cpu-usage"]
    assert logs[0]["plugin"] == "load"
    assert logs[0]["log_failure"].check(OSError)


def test_wrong_settings_leave_a_plugin_out(tmp_path: Path) -> None:
    """With file, line and the right name; alone, it is a process without plugins."""
    file = tmp_path / "cpu-usage.toml"
    file.write_text(f'module = "{CPU}"\nsends = ["cpu-usage"]\n[settings]\nstepp = 60\n')
    with pytest.raises(SettingsError):
        load_plugin(Manifest.read(file))

    with capturedLogs() as logs, pytest.raises(PluginUnusable, match=r"no plugin to run here \(cpu-usage\)"):
        host_of(Manifest.read(file))

    assert f"{file}:4: settings.stepp" in logs[0]["reason"]


def test_a_process_without_plugins_is_refused() -> None:
    """It would do nothing, for ever."""
    with pytest.raises(PluginUnusable, match="none is enabled"):
        host_of()


def test_a_plugin_process_loads_no_tls_and_none_of_the_heavy_parts() -> None:
    """Each would cost every such process megabytes."""
    code = (
        "import sys; from fieldpost.agent.lean import leave_tls_out; leave_tls_out();"
        "import fieldpost.agent.host as host, fieldpost.agent.manifest as m; from pathlib import Path;"
        "[host.load_plugin(one) for one in m.load_manifests(Path(sys.argv[1]))];"
        "print(*sorted(n for n in ('OpenSSL.SSL', 'cryptography', 'sqlite3', 'twisted.web', 'click', 'rich',"
        " 'fieldpost.broker', 'fieldpost.server') if n in sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "conf" / "plugins.d")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == []


def test_tls_that_is_loaded_already_stays() -> None:
    """The same process may speak it: a test, or the demo."""
    code = (
        "import sys; sys.modules['OpenSSL'] = sys; from fieldpost.agent.lean import leave_tls_out; leave_tls_out();"
        "print(sys.modules['OpenSSL'] is sys)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "True"
