"""
The list that `make conformance` prints: each numbered statement with its outcome and its tests.

Loaded by `pytest -p tests.conformance`. A statement passes when it has tests and all of them pass; a test that is skipped has shown
nothing, so it counts as failed, and so does a statement without a test.
"""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter
from attrs import define, field, frozen

TITLES = Path(__file__).parent / "conformance.toml"
MARKER = "conformance"
ID = re.compile(r"[A-Z][0-9]+")
OTHER = re.compile(r"[^MZFN].*|.0.*")
"""Ids of recorded vectors and traces, and of defects of the framing's ancestor: tests may name them beside the statements."""


class Outcome(Enum):
    """How a statement fares, in the list's words."""

    PASS = "pass"
    FAIL = "FAIL"
    NOT_APPLICABLE = "not applicable"
    NO_TEST = "NO TEST"
    NOT_RUN = "NOT RUN"

    @property
    def is_good(self) -> bool:
        """Whether the list may be called green."""
        return self in (Outcome.PASS, Outcome.NOT_APPLICABLE)


@frozen(kw_only=True)
class Claim:
    """What one marker says: these statements are shown by this test, or cannot be shown at all."""

    ids: tuple[str, ...]
    not_applicable: str | None = None


@define(kw_only=True)
class Statement:
    """A numbered statement with what was found of it."""

    id: str
    title: str
    tests: dict[str, bool] = field(factory=dict)
    """Whether each passed, by its name."""
    reasons: list[str] = field(factory=list)
    """Why it does not apply."""
    is_claimed: bool = False
    """Whether a test names it, run or not."""

    @property
    def outcome(self) -> Outcome:
        """By its tests."""
        if not self.is_claimed:
            return Outcome.NO_TEST
        if not self.tests:
            return Outcome.NOT_RUN
        if not all(self.tests.values()):
            return Outcome.FAIL
        if self.reasons:
            return Outcome.NOT_APPLICABLE
        return Outcome.PASS


def read_titles(path: Path = TITLES) -> dict[str, str]:
    """Each statement's title by its id, in the list's order."""
    lists = tomllib.loads(path.read_text())
    return {
        f"{letter}{number}": title for letter, titles in lists.items() for number, title in titles.items()
    }


def claims_of(item: pytest.Item) -> list[Claim]:
    """
    What a test's markers say.

    Raises:
        UsageError: a marker without ids, or with something that is none
    """
    claims = []
    for marker in item.iter_markers(MARKER):
        wrong = [str(id) for id in marker.args if not (isinstance(id, str) and ID.fullmatch(id))]
        if wrong or not marker.args:
            raise pytest.UsageError(f"{item.nodeid}: conformance() wants ids as M37, not {', '.join(wrong)}")
        claims.append(Claim(ids=marker.args, not_applicable=marker.kwargs.get("not_applicable")))
    return claims


class Conformance:
    """Gathers outcomes while tests run, and prints the list behind them."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self.statements = {id: Statement(id=id, title=title) for id, title in titles.items()}
        self._of_test: dict[str, list[str]] = defaultdict(list)

    def claim(self, test: str, claims: Iterable[Claim]) -> None:
        """
        A test that will run names its statements.

        Raises:
            UsageError: there is no such statement
        """
        for claim in claims:
            for id in claim.ids:
                if OTHER.fullmatch(id):
                    continue
                if id not in self.statements:
                    raise pytest.UsageError(f"{test}: there is no statement {id} in {TITLES.name}")
                self._of_test[test].append(id)
                self.statements[id].is_claimed = True
                if claim.not_applicable:
                    self.statements[id].reasons.append(claim.not_applicable)

    def report(self, test: str, *, passed: bool) -> None:
        """One phase of a test has ended; it passes when all of them do."""
        for id in self._of_test.get(test, ()):
            tests = self.statements[id].tests
            tests[test] = tests.get(test, True) and passed

    @property
    def is_green(self) -> bool:
        """Whether every statement is good."""
        return all(statement.outcome.is_good for statement in self.statements.values())

    def lines(self) -> list[str]:
        """The list, with its sum at the end."""
        statements = self.statements.values()
        counts = {outcome: sum(s.outcome is outcome for s in statements) for outcome in Outcome}
        total = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items())
        return [line for statement in statements for line in _lines(statement)] + [
            f"{len(statements)} statements: {total}"
        ]


def _lines(statement: Statement) -> list[str]:
    first = f"{statement.id:4} {statement.outcome.value:14}  {statement.title}"
    reasons = [f"{'':20}  because {reason}" for reason in sorted(set(statement.reasons))]
    return [first, *reasons, *_tests(statement)]


def _tests(statement: Statement) -> list[str]:
    """Parametrised tests are named once, with their number; those that failed each by itself."""
    numbers: dict[str, int] = defaultdict(int)
    for test, passed in statement.tests.items():
        numbers[test.split("[")[0] if passed else f"FAILED {test}"] += 1
    return [f"{'':20}  {test}" + (f" x{number}" if number > 1 else "") for test, number in numbers.items()]


_FOUND = pytest.StashKey[Conformance]()


def pytest_configure(config: pytest.Config) -> None:
    """See pytest."""
    config.stash[_FOUND] = Conformance(read_titles())
    config.pluginmanager.register(_Listener(config.stash[_FOUND]), "conformance-listener")


class _Listener:
    def __init__(self, found: Conformance) -> None:
        self._found = found

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """See pytest."""
        for item in items:
            self._found.claim(item.nodeid, claims_of(item))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """See pytest."""
        self._found.report(report.nodeid, passed=report.passed)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """See pytest."""
        if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.OK if self._found.is_green else pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """See pytest."""
        terminalreporter.write_line("")
        for line in self._found.lines():
            terminalreporter.write_line(line)
