"""A process whose output nobody has to read while it runs."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

TAIL_CHARACTERS = 8_000
"""Of each of its outputs, in the report of a test that fails."""


class Launched(subprocess.Popen[str]):
    """
    Its output goes to files in a folder of the test's: a pipe holds 64 KiB, and stops whoever writes more.

    What it said is there with `communicate`, which also shows the end of it: pytest reports that where a test fails.
    """

    def __init__(self, command: Sequence[str], folder: Path, **more: Any) -> None:
        """Any: whatever else Popen takes."""
        with (
            NamedTemporaryFile(dir=folder, prefix="launched-", suffix=".out", delete=False) as out,
            NamedTemporaryFile(dir=folder, prefix="launched-", suffix=".err", delete=False) as err,
        ):
            self._files = Path(out.name), Path(err.name)
            self._is_shown = False
            super().__init__(command, cwd=folder, stdout=out, stderr=err, text=True, **more)

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """See Popen: what it wrote to its output and to its errors, once it has ended."""
        assert input is None
        self.wait(timeout)
        output, errors = (file.read_text(errors="replace") for file in self._files)
        if not self._is_shown:
            self._is_shown = True
            ends = "\n".join(text[-TAIL_CHARACTERS:] for text in (output, errors))
            sys.stdout.write(
                f"process {self.pid} ended with {self.returncode}; the end of what it said:\n{ends}\n"
            )
        return output, errors
