"""Settings: from TOML files to values, and to errors that a person can act on."""

import tempfile
from pathlib import Path
from typing import Any

from attrs import Factory, frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.runtime.settings import OCTETS, SECONDS, SettingsError, load, load_table, option, options_of
from fieldpost.runtime.toml_source import MAX_OCTETS, Source


@frozen(kw_only=True)
class Account:
    key: str
    tags: tuple[str, ...] = ()


@frozen(kw_only=True)
class Server:
    url: str = option(example='"https://server.example/message-system"')
    ca_file: Path | None = None


@frozen(kw_only=True)
class Exchange:
    interval: float = option(default=900.0, unit=SECONDS, at_least=1)
    max_octets: int = option(default=1000, unit=OCTETS, at_least=1, at_most=2**40)
    codec: str = option(default="cbor", one_of=("cbor", "bpickle"))
    ports: tuple[int, ...] = option(default=(), at_least=1)

    def __attrs_post_init__(self) -> None:
        if self.interval > 10_000 and self.codec == "bpickle":
            raise ValueError(
                "bpickle needs an interval of at most 10000 seconds; lower one or change the other"
            )


@frozen(kw_only=True)
class Extra:
    level: int
    folder: Path = Path("extra.d")
    absolute: Path = Path("/etc")


@frozen(kw_only=True)
class Config:
    name: str = "agent"
    compress: bool = True
    kinds: frozenset[str] = frozenset()
    server: Server
    exchange: Exchange
    extra: Extra | None = None
    accounts: dict[str, Account] = option(name="account", default=Factory(dict))
    listen: tuple[Account, ...] = ()
    settings: dict[str, Any] = option(default=Factory(dict))


SMALLEST = '[server]\nurl = "https://a/"\n'


class Folder(SynchronousTestCase):
    """A place for files."""

    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.folder = Path(place.name)
        self.file = self.folder / "agent.toml"

    def load(self, text: str) -> Config:
        self.file.write_text(text)
        return load(self.file, Config, dropins=self.folder / "agent.d")

    def drop_in(self, name: str, text: str) -> None:
        (self.folder / "agent.d").mkdir(exist_ok=True)
        (self.folder / "agent.d" / name).write_text(text)

    def complaints(self, text: str) -> list[str]:
        """What load says, without the folder's name."""
        error = self.assertRaises(SettingsError, self.load, text)
        return str(error).replace(f"{self.folder}/", "").splitlines()

    def complaint(self, text: str) -> str:
        (found,) = self.complaints(text)
        return found


class LoadTests(Folder):
    def test_defaults_where_nothing_is_written(self) -> None:
        """A section whose options all have defaults may be missing."""
        config = self.load(SMALLEST)

        self.assertEqual(Config(server=Server(url="https://a/"), exchange=Exchange()), config)

    def test_every_kind_of_value(self) -> None:
        """Text, numbers, truth, lists, sets, named tables, lists of tables and free tables arrive as declared."""
        config = self.load(
            'name = "x"\ncompress = false\nkinds = ["a", "b"]\nsettings = {a = 1}\n'
            + SMALLEST
            + "[exchange]\ninterval = 5\nports = [1, 2]\n[extra]\nlevel = 3\n"
            + '[account.one]\nkey = "k"\n[[listen]]\nkey = "l"\ntags = ["t"]\n'
        )

        self.assertEqual(("x", False, frozenset({"a", "b"})), (config.name, config.compress, config.kinds))
        self.assertEqual({"a": 1}, config.settings)
        self.assertEqual((5.0, (1, 2)), (config.exchange.interval, config.exchange.ports))
        self.assertIsInstance(config.exchange.interval, float)
        self.assertEqual(Extra(level=3, folder=self.folder / "extra.d"), config.extra)
        self.assertEqual({"one": Account(key="k")}, config.accounts)
        self.assertEqual((Account(key="l", tags=("t",)),), config.listen)

    def test_units(self) -> None:
        """Times and sizes may be written with their unit."""
        config = self.load(SMALLEST + '[exchange]\ninterval = "1.5 h"\nmax-octets = "64MiB"')

        self.assertEqual(5400.0, config.exchange.interval)
        self.assertEqual(64 * 2**20, config.exchange.max_octets)

    def test_relative_path(self) -> None:
        """A relative path starts where the file that names it stands, drop-in or not."""
        self.drop_in("a.toml", '[server]\nca-file = "ca.pem"')

        config = self.load(SMALLEST)

        self.assertEqual(self.folder / "agent.d" / "ca.pem", config.server.ca_file)

    def test_absolute_path(self) -> None:
        """An absolute path stays."""
        config = self.load(SMALLEST + 'ca-file = "/etc/ca.pem"')

        self.assertEqual(Path("/etc/ca.pem"), config.server.ca_file)

    def test_drop_ins_are_laid_over_by_name(self) -> None:
        """The drop-in that sorts last wins, option by option; files that are no TOML by name are left alone."""
        self.drop_in("20.toml", "[exchange]\ninterval = 20")
        self.drop_in("10.toml", '[exchange]\ninterval = 10\ncodec = "bpickle"')
        self.drop_in("30.toml.bak", "no TOML")

        config = self.load(SMALLEST + "[exchange]\ninterval = 1\nmax-octets = 7")

        self.assertEqual(Exchange(interval=20.0, codec="bpickle", max_octets=7), config.exchange)

    def test_table_read_elsewhere(self) -> None:
        """A part of a larger file is checked the same way, and its errors have lines too."""
        self.file.write_text("\nlevel = 1\nlevels = 2\n")

        error = self.assertRaises(SettingsError, load_table, {"level": 1, "levels": 2}, Extra, file=self.file)

        self.assertEqual(3, error.problems[0].line)


class ComplaintTests(Folder):
    def test_unknown_option(self) -> None:
        """A misspelt option is named with its line and the right name."""
        self.assertEqual(
            "agent.toml:4: exchange.intervall: there is no such option; did you mean `interval`?",
            self.complaint(SMALLEST + "[exchange]\nintervall = 5"),
        )

    def test_underscore(self) -> None:
        """Names with underscores, or in capitals, find their right spelling."""
        self.assertIn("did you mean `max-octets`?", self.complaint(SMALLEST + "[exchange]\nmax_octets = 5"))
        self.assertIn("did you mean `name`?", self.complaint('NAME = "x"\n' + SMALLEST))

    def test_unknown_section(self) -> None:
        """A misspelt section is named, with the right one."""
        found = self.complaints('[sever]\nurl = "https://a/"\n')

        self.assertEqual("agent.toml:1: sever: there is no such option; did you mean `server`?", found[0])

    def test_option_of_another_section(self) -> None:
        """An option in the wrong section is told where it belongs."""
        self.assertEqual(
            "agent.toml:3: server.codec: there is no such option here; it belongs in [exchange]",
            self.complaint(SMALLEST + 'codec = "cbor"'),
        )
        self.assertIn("it belongs above the first [section]", self.complaint(SMALLEST + "compress = true"))

    def test_option_like_no_other(self) -> None:
        """An option that resembles none is answered with the list of those there are."""
        self.assertIn("[server] knows ca-file, url", self.complaint(SMALLEST + "zzz = 1"))
        self.assertIn("this file knows account, compress", self.complaint("zzz = 1\n" + SMALLEST))

    def test_missing_option(self) -> None:
        """A required option that is missing is named with an example, at its section."""
        self.assertEqual(
            "agent.toml:2: server.url: is missing; write in [server] for example "
            '`url = "https://server.example/message-system"`',
            self.complaint("\n[server]\n"),
        )
        self.assertEqual('agent.toml: server.url: is missing; write in [server] for example `url = "https://server.example/message-system"`', self.complaint(""))  # fmt: skip

    def test_wrong_type(self) -> None:
        """A value of the wrong type is told what is expected."""
        for line, expected in {
            "name = 5": "name: must be text in quotes, not a number",
            'compress = "yes"': "compress: must be true or false, not text",
            "server = 5": "server: must be a table, `[server]`, not a number",
            "kinds = 1": 'kinds: must be a list, for example ["..."], not a number',
            "kinds = [1]": "kinds[0]: must be text in quotes, not a number",
            "account = {a = 1}": "account.a: must be a table, `[account.a]`, not a number",
            "name = 2024-01-01": "name: must be text in quotes, not a date",
            "name = true": "name: must be text in quotes, not true or false",
            "extra = {level = true}": "extra.level: must be a whole number, not true or false",
            "extra = {level = 1.5}": "extra.level: must be a whole number, not a number with a fraction",
        }.items():
            rest = "" if line.startswith("server") else SMALLEST
            with self.subTest(line=line):
                self.assertEqual(f"agent.toml:1: {expected}", self.complaint(f"{line}\n{rest}"))

    def test_wrong_unit(self) -> None:
        """A time that is none is told the units there are."""
        for value in ('"5 parsec"', '"min"', '"1e99 d"', '"-5 s"', '"9 9 s"'):
            with self.subTest(value=value):
                self.assertIn(
                    'must be a number of seconds or text such as "15 min" (units: s, min, h, d)',
                    self.complaint(SMALLEST + f"[exchange]\ninterval = {value}"),
                )
        self.assertIn(
            'must be a number of seconds or text such as "15 min", not a list',
            self.complaint(SMALLEST + "[exchange]\ninterval = []"),
        )

    def test_out_of_range(self) -> None:
        """A number out of its range is told the range, with the unit."""
        for line, expected in {
            "interval = 0": "exchange.interval: must be at least 1 seconds, not 0",
            "interval = nan": "exchange.interval: must be a finite number",
            "interval = inf": "exchange.interval: must be a finite number",
            'max-octets = "9999 GiB"': "exchange.max-octets: must be at most 1099511627776 octets",
            "ports = [5, 0]": "exchange.ports[1]: must be at least 1, not 0",
            'codec = "cbro"': "must be one of cbor, bpickle, not 'cbro'; did you mean `cbor`?",
        }.items():
            with self.subTest(line=line):
                self.assertIn(expected, self.complaint(SMALLEST + f"[exchange]\n{line}"))

    def test_combination(self) -> None:
        """A section may refuse values that do not go together."""
        self.assertEqual(
            "agent.toml:3: exchange: bpickle needs an interval of at most 10000 seconds; lower one or change the other",
            self.complaint(SMALLEST + '[exchange]\ninterval = "3 h"\ncodec = "bpickle"'),
        )

    def test_path(self) -> None:
        """A path must be one."""
        for value in ("5", '""', '"a\\u0000b"'):
            self.assertIn(
                "ca-file: must be a path in quotes", self.complaint(SMALLEST + f"ca-file = {value}")
            )

    def test_all_at_once(self) -> None:
        """Everything that is wrong is said in one go, each with the file that it stands in."""
        self.drop_in("10.toml", "\n[exchange]\nports = 1")

        found = self.complaints("name = 5\n[server]\nurll = 1\n[exchange]\nports = []")

        self.assertEqual(
            ["agent.toml:1: name", "agent.toml:3: server.urll", "agent.toml:2: server.url", "agent.d/10.toml:3: exchange.ports"],
            [": ".join(line.split(": ")[:2]) for line in found],
        )  # fmt: skip

    def test_no_toml(self) -> None:
        """A file that is no TOML is named with line and column."""
        self.assertEqual(
            "agent.toml:2: no valid TOML: Expected '=' after a key in a key/value pair (column 6)",
            self.complaint("\nname 5\n"),
        )

    def test_no_toml_at_the_end(self) -> None:
        """What is missing at the end of the file is reported at its last line."""
        self.assertTrue(self.complaint("a = 1\nb = [").startswith("agent.toml:2: no valid TOML: "))

    def test_hostile_toml(self) -> None:
        """Nothing that stands in a file ends in a traceback."""
        self.assertIn("no valid TOML", self.complaint("a = " + "9" * 5000))
        self.complaint("a = " + "[" * 5000)

    def test_file_that_is_missing(self) -> None:
        """A file that is not there is named, with the reason."""
        error = self.assertRaises(SettingsError, load, self.folder / "none.toml", Config)

        self.assertEqual(
            f"{self.folder}/none.toml: cannot be read: no such file or directory; check the path and who may read it",
            str(error),
        )

    def test_drop_ins_that_are_no_folder(self) -> None:
        """A drop-in folder that is a file is an error, not nothing."""
        (self.folder / "agent.d").write_text("")

        self.assertIn("the folder of drop-ins cannot be read: not a directory", self.complaint(SMALLEST))

    def test_broken_drop_in(self) -> None:
        """A broken drop-in is named itself, together with a broken file."""
        self.drop_in("10.toml", "=")

        found = self.complaints("=")

        self.assertEqual(["agent.toml:1", "agent.d/10.toml:1"], [line.split(": ")[0] for line in found])

    def test_other_encodings_and_sizes(self) -> None:
        """A file in another encoding, or one that is no configuration at all, is refused with the reason."""
        self.file.write_bytes(b'\n\nname = "\xe4"')
        error = self.assertRaises(SettingsError, load, self.file, Config)
        self.assertIn("agent.toml:3: is not UTF-8", str(error))

        self.file.write_bytes(b"#" * (MAX_OCTETS + 1))
        error = self.assertRaises(SettingsError, load, self.file, Config)
        self.assertIn("is it the right file?", str(error))

    @given(st.binary(max_size=60))
    def test_any_octets(self, octets: bytes) -> None:
        """Whatever a file holds, it is settings or a SettingsError."""
        with tempfile.NamedTemporaryFile(suffix=".toml") as file:
            file.write(octets)
            file.flush()
            self.assertRaises(SettingsError, load, Path(file.name), Config)


class LineTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """The line of each value is found, however it is written."""
        source = Source(
            Path("x"),
            'a = """\n[b]\n"""\n# c = 1\nc.d = 2\n\n[e."f.g"] # h\nh = [\n  1,\n]\n[[i]]\nj = 1\n[[i]]\n\nj = {k = 1}\n[i.l]\nm=1',
            {},
        )

        self.assertEqual(
            [1, 5, 5, 7, 7, 8, 8, 12, 13, 15, 16, 17, None],
            [
                source.line_of(place)
                for place in (
                    ("a",),
                    ("c",),
                    ("c", "d"),
                    ("e",),
                    ("e", "f.g"),
                    ("e", "f.g", "h"),
                    ("e", "f.g", "h", 0),
                    ("i", 0, "j"),
                    ("i", 1),
                    ("i", 1, "j", "k"),
                    ("i", 1, "l"),
                    ("i", 1, "l", "m"),
                    ("z",),
                )
            ],
        )


class OptionsTests(SynchronousTestCase):
    def test_options_of(self) -> None:
        """The options of a class are listed with full names, for documentation to be checked against."""
        found = {note.name: note for note in options_of(Config)}

        self.assertEqual(
            {"name", "compress", "kinds", "server.url", "server.ca-file", "exchange.interval", "exchange.max-octets",
             "exchange.codec", "exchange.ports", "extra.level", "extra.folder", "extra.absolute", "account.NAME.key", "account.NAME.tags", "listen.key",
             "listen.tags", "settings"},
            set(found),
        )  # fmt: skip
        self.assertTrue(found["server.url"].required)
        self.assertEqual(900.0, found["exchange.interval"].default)
