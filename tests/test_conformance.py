"""The list of statements is whole, and says what is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conformance import Claim, Conformance, Outcome, read_titles

ROOT = Path(__file__).parent.parent


def found(*claims: Claim) -> Conformance:
    """A list of two statements, after a test of this name was collected."""
    made = Conformance({"M1": "one", "Z1": "another"})
    made.claim("test_this", claims)
    return made


def test_all_statements_are_listed_in_their_order() -> None:
    """None is left out, and none is made up."""
    wanted = [
        f"{letter}{n}"
        for letter, last in zip("MZFN", (80, 29, 41, 24), strict=True)
        for n in range(1, last + 1)
    ]

    assert list(read_titles()) == wanted
    assert all(read_titles().values())


def test_a_statement_passes_by_its_test() -> None:
    """The list names it."""
    conformance = found(Claim(ids=("M1", "Z1")))

    for _ in ("setup", "call", "teardown"):
        conformance.report("test_this", passed=True)

    assert conformance.is_green
    assert conformance.lines() == [
        "M1   pass            one",
        "                      test_this",
        "Z1   pass            another",
        "                      test_this",
        "2 statements: 2 pass, 0 FAIL, 0 not applicable, 0 NO TEST, 0 NOT RUN",
    ]


def test_a_statement_without_a_test_is_no_success() -> None:
    """Nothing was shown of it."""
    conformance = found(Claim(ids=("M1",)))
    assert conformance.statements["M1"].outcome is Outcome.NOT_RUN

    conformance.report("test_this", passed=True)

    assert not conformance.is_green
    assert conformance.statements["Z1"].outcome is Outcome.NO_TEST


def test_one_failure_among_its_tests_fails_a_statement() -> None:
    """A skipped test fails too, since it shows nothing."""
    conformance = found(Claim(ids=("M1", "Z1")))
    conformance.claim("test_that[1]", [Claim(ids=("M1",))])

    conformance.report("test_this", passed=True)
    conformance.report("test_that[1]", passed=True)
    conformance.report("test_that[1]", passed=False)
    conformance.report("test_that[1]", passed=True)

    assert conformance.statements["M1"].outcome is Outcome.FAIL
    assert "                      FAILED test_that[1]" in conformance.lines()


def test_what_does_not_apply_says_why() -> None:
    """The reason stands in the list."""
    conformance = found(Claim(ids=("M1",)), Claim(ids=("Z1",), not_applicable="there is none"))

    conformance.report("test_this", passed=True)

    assert conformance.is_green
    assert conformance.statements["Z1"].outcome is Outcome.NOT_APPLICABLE
    assert "                      because there is none" in conformance.lines()


def test_a_statement_that_does_not_exist_cannot_be_claimed() -> None:
    """A slip of the pen would show nothing."""
    with pytest.raises(pytest.UsageError, match="no statement M99"):
        found(Claim(ids=("M99",)))


@pytest.mark.process
def test_every_statement_has_a_test() -> None:
    """Found without running them, as `make conformance` does, in the files that mention statements."""
    files = [str(file) for file in (ROOT / "tests").rglob("test_*.py") if ".conformance(" in file.read_text()]
    listing = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.conformance",
            "-m",
            "conformance",
            "-qq",
            "--collect-only",
            *files,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    ).stdout

    assert not re.findall(r"^(\w+) +NO TEST", listing, re.MULTILINE), listing
