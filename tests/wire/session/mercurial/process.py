"""Mercurial's end, started and spoken to."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
PYTHON = ROOT / "build" / "mercurial" / "bin" / "python"
"""Of the environment that `make build/mercurial/ready` makes."""
PROGRAM = Path(__file__).parent / "program.py"
SECONDS = 240
Line = dict[str, Any]
"""One thing that it understood; an octet is a character."""

needs_mercurial = pytest.mark.skipif(
    not PYTHON.exists(), reason="needs Mercurial in an environment of its own: make build/mercurial/ready"
)


def serve(requests: bytes, *options: str) -> tuple[bytes, list[Line]]:
    """Let its server read these frames to their end: what it answers, and what it understood."""
    done = subprocess.run(
        [PYTHON, PROGRAM, "server", *options],
        input=requests,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout, _lines(done.stderr)


def call(
    calls: list[Line], answer: Callable[[bytes], bytes], *, encodings: tuple[str, ...] = ()
) -> list[Line]:
    """Let its client make calls; `answer` gives octets for those of the calls. What it understood of the answer."""
    wanted = json.dumps({"calls": calls, "encodings": encodings})
    with subprocess.Popen(
        [PYTHON, PROGRAM, "client", wanted],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as client:
        assert client.stdout is not None
        answered = answer(client.stdout.read())
        client.stdout.close()
        client.stdout = None
        _, said = client.communicate(answered, timeout=SECONDS)
    assert client.returncode == 0, said.decode()
    return _lines(said)


def _lines(said: bytes) -> list[Line]:
    return [json.loads(line) for line in said.decode().splitlines()]
