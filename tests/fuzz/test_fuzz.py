"""What the fuzzer has found stays mended, and its targets hold for random octets too."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .seeds import SEEDS
from .targets import TARGETS

FINDINGS = sorted(path for path in (Path(__file__).parent / "findings").glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", FINDINGS, ids=[f"{path.parent.name}-{path.name}" for path in FINDINGS])
def test_a_finding_is_mended(path: Path) -> None:
    """The octets that broke the target break it no more."""
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_what_the_fuzzer_begins_with(name: str) -> None:
    """Seeds that break a target would end each run at its start."""
    for seed in SEEDS.get(name, ()):
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
@given(octets=st.binary(max_size=300))
def test_a_target_takes_any_octets(name: str, octets: bytes) -> None:
    """It fails only for a fault of ours."""
    TARGETS[name](octets)
