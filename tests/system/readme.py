"""
The commands of the README, as this test runs them: what stands there and what is tested cannot differ.

A block of shell belongs to the test when the line before its fence is `<!-- system-test: NAME -->`.
"""

import re
from pathlib import Path

_BLOCK = re.compile(
    r"^<!-- system-test: (?P<name>\S+) -->\n+```sh\n(?P<lines>.*?)^```$", re.MULTILINE | re.DOTALL
)


def commands(readme: Path, name: str) -> str:
    """
    The lines of the block with this name. A `sudo` before a command is left out: the test is root.

    Raises AssertionError when there is none or more than one.
    """
    blocks = [block["lines"] for block in _BLOCK.finditer(readme.read_text()) if block["name"] == name]
    if len(blocks) != 1:
        raise AssertionError(
            f"{readme} has {len(blocks)} blocks of shell marked <!-- system-test: {name} -->, not one"
        )
    return re.sub(r"^sudo ", "", blocks[0], flags=re.MULTILINE)
