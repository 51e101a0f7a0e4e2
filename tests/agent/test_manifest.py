"""A manifest says which plugin runs where, as whom, and what it may do."""

from pathlib import Path

import pytest
from attrs import frozen

from fieldpost.agent.host import load_plugin
from fieldpost.agent.manifest import Manifest, catalogue_of, hosts_of, load_manifests
from fieldpost.runtime.settings import SECONDS, SettingsError, option
from fieldpost.wire.api import NEWEST_SERVER_API
from fieldpost.wire.declaration import Declaration, Field
from fieldpost.wire.kinds import INTEGER, NULL, TEXT, either, list_of, record_of

CONF = Path(__file__).parent.parent.parent / "conf" / "plugins.d"
MINIMAL = 'module = "acme.plugins:Load"\n'


@frozen(kw_only=True)
class LoadSettings:
    interval: float = option(default=60.0, unit=SECONDS, at_least=1)


def written(folder: Path, **manifests: str) -> Path:
    for name, text in manifests.items():
        (folder / f"{name.replace('_', '-')}.toml").write_text(text)
    return folder


def problems(folder: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_manifests(folder)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_a_manifest_is_called_after_its_plugin(tmp_path: Path) -> None:
    """What it does not say has a default: a process of its own, the supervisor's user, no rights."""
    (manifest,) = load_manifests(written(tmp_path, load_average=MINIMAL))

    assert manifest == Manifest(
        name="load-average",
        file=tmp_path / "load-average.toml",
        module="acme.plugins:Load",
        host="load-average",
        enabled=True,
        user=None,
        sends=(),
        handles=(),
        settings={},
    )


def test_a_manifest_says_all_of_it(tmp_path: Path) -> None:
    """Place, user, rights and settings."""
    text = MINIMAL + (
        'enabled = false\nhost = "acme"\nuser = "acme"\nsends = ["load", "peak"]\nhandles = ["reset"]\n'
        '[settings]\ninterval = "2 min"\n'
    )
    (manifest,) = load_manifests(written(tmp_path, load=text))

    assert (manifest.enabled, manifest.host, manifest.user) == (False, "acme", "acme")
    assert (manifest.sends, manifest.handles) == (("load", "peak"), ("reset",))
    assert manifest.settings == {"interval": "2 min"}
    assert manifest.settings_as(LoadSettings) == LoadSettings(interval=120.0)


DECLARED = """
[messages.load]
about = "The load."

[messages.load.fields]
time = { kind = "integer", about = "when" }
note = { kind = "text", optional = true, nullable = true, at-most = 5, since = "3.3" }
"""


def test_a_manifest_declares_the_types_of_its_plugin(tmp_path: Path) -> None:
    """The broker checks messages by it, beside those of the built-in types."""
    manifests = load_manifests(written(tmp_path, load=MINIMAL + 'sends = ["load"]\n' + DECLARED))

    declaration = catalogue_of(manifests).declarations["load"]
    assert declaration == Declaration(
        type="load",
        about="The load.",
        fields=(
            Field(name="time", kind=INTEGER, about="when"),
            Field(name="note", kind=TEXT, required=False, nullable=True, most=5, since=NEWEST_SERVER_API),
        ),
    )
    assert "cpu-usage" in catalogue_of(manifests).declarations


def test_a_manifest_declares_lists_of_maps(tmp_path: Path) -> None:
    """In the words of the documentation."""
    declared = '[messages.load.fields]\ndisks = { kind = "list of {name text, size? integer or null}" }\n'
    manifests = load_manifests(written(tmp_path, load=MINIMAL + 'sends = ["load"]\n' + declared))

    (field,) = catalogue_of(manifests).declarations["load"].fields
    assert field.kind == list_of(record_of({"name": TEXT, "size?": either(INTEGER, NULL)}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DECLARED, "it declares `load` and may not send it; name it under `sends`"),
        ('sends = ["*"]\n[messages.cpu-usage]\n', "`cpu-usage` is declared already; call yours otherwise"),
        ('sends = ["*"]\n[messages."a;b"]\n', "'a;b' is no type of message"),
        (
            'sends = ["a"]\n[messages.a.fields]\nx = {kind = "txt"}\n',
            "load.toml:4: messages.a.fields.x.kind: 'txt' is no kind",
        ),
        (
            'sends = ["a"]\n[messages.a.fields]\ntype = {kind = "text"}\n',
            "`type` is in every message; leave it out",
        ),
        ('sends = ["a"]\n[messages.a.fields]\n"x y" = {kind = "text"}\n', "'x y' is no field's name"),
        ('sends = ["a"]\n[messages.a.fields]\nx = {kind = "integer", at-most = 5}\n', "`at-most` cuts text"),
    ],
)
def test_a_wrong_declaration_is_told(tmp_path: Path, text: str, said: str) -> None:
    """Before the plugin runs, with the place."""
    (problem,) = problems(written(tmp_path, load=MINIMAL + text))

    assert said in problem


def test_a_type_is_declared_by_one_plugin(tmp_path: Path) -> None:
    """Two that share a type cannot disagree on it."""
    text = MINIMAL + 'sends = ["load"]\n' + DECLARED

    assert problems(written(tmp_path, one=text, two=text)) == [
        "two.toml: messages.load: one.toml declares it already; keep one of the two"
    ]


def test_settings_that_are_not_there_have_their_defaults(tmp_path: Path) -> None:
    """The section itself may be missing."""
    (manifest,) = load_manifests(written(tmp_path, load=MINIMAL))

    assert manifest.settings_as(LoadSettings) == LoadSettings()


def test_a_wrong_setting_is_named_with_its_line_and_the_right_one(tmp_path: Path) -> None:
    """When the plugin's class is known."""
    (manifest,) = load_manifests(written(tmp_path, load=MINIMAL + "\n[settings]\nintervall = 5\n"))

    with pytest.raises(SettingsError) as caught:
        manifest.settings_as(LoadSettings)

    assert str(caught.value) == (
        f"{tmp_path}/load.toml:4: settings.intervall: there is no such option; did you mean `interval`?"
    )


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """In every file."""
    written(
        tmp_path,
        a="modul = 3\n",
        b='module = "acme.plugins"\n',
        c=MINIMAL + 'host = "The Host"\n',
        d="module = \n",
        Load=MINIMAL,
    )

    found = problems(tmp_path)

    assert (
        found[0]
        == "Load.toml: the file's name is the plugin's: it must be small letters, digits and dashes, a letter first"
    )
    assert found[1] == "a.toml:1: modul: there is no such option; did you mean `module`?"
    assert found[2].startswith('a.toml: module: is missing; write for example `module = "fieldpost.plugins')
    assert found[3].startswith('b.toml:1: module: must be module and class, such as "')
    assert found[4] == "c.toml:2: host: must be small letters, digits and dashes, a letter first"
    assert found[5].startswith("d.toml:1:")


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """With the setting that names it."""
    with pytest.raises(
        SettingsError, match=r"cannot be read: no such file or directory; set `manifests` in \[plugins\]"
    ):
        load_manifests(tmp_path / "missing")


def test_other_files_are_let_be(tmp_path: Path) -> None:
    """A README, an editor's copy."""
    written(tmp_path, load=MINIMAL)
    (tmp_path / "README").write_text("hi")
    (tmp_path / "load.toml~").write_text("?")

    assert len(load_manifests(tmp_path)) == 1


def test_plugins_of_a_host_share_a_process(tmp_path: Path) -> None:
    """Those that are enabled."""
    shared = MINIMAL + 'host = "acme"\n'
    folder = written(tmp_path, a=shared, b=MINIMAL, c=shared, d=shared + "enabled = false\n")

    hosts = hosts_of(load_manifests(folder))

    assert {host: [m.name for m in members] for host, members in hosts.items()} == {
        "acme": ["a", "c"],
        "b": ["b"],
    }


def test_plugins_of_a_host_must_have_one_user(tmp_path: Path) -> None:
    """A process has one; the second manifest is told, with its line."""
    shared = MINIMAL + 'host = "acme"\n'
    folder = written(tmp_path, a=shared + 'user = "one"\n', b=shared + 'user = "two"\n', c=shared)

    found = problems(folder)

    assert found[0].startswith(
        "b.toml:3: user: it shares the process `acme` with a.toml, which has another `user`"
    )
    assert found[1].startswith("c.toml: user: it shares the process `acme`")


def test_the_sample_manifests_are_right() -> None:
    """One process for all monitors; scripts are off until somebody switches them on."""
    manifests = {manifest.name: manifest for manifest in load_manifests(CONF)}

    assert {name for name, manifest in manifests.items() if not manifest.enabled} == {"execute-script"}
    assert set(hosts_of(manifests.values())) == {"monitors"}
    assert all(manifest.user is None for manifest in manifests.values())


def test_the_sample_manifests_show_the_defaults() -> None:
    """Every option of a plugin stands there behind a #, as it is when nobody sets it."""
    for manifest in load_manifests(CONF):
        plugin = load_plugin(manifest)
        options = [name.replace("_", "-") for name in plugin.settings.__slots__ if not name.startswith("__")]
        settings = manifest.file.read_text().partition("[settings]\n")[2]

        assert [line.split(" = ")[0].removeprefix("# ") for line in settings.splitlines()] == options
