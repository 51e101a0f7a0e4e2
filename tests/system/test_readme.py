"""The system test runs what stands in the README."""

from pathlib import Path

import pytest

from .readme import commands

TEXT = """\
# A title

<!-- system-test: install -->
```sh
sudo apt install ./one_*.deb
other
```

```sh
not this
```
"""


def test_block(tmp_path: Path) -> None:
    """The lines of the marked block, without `sudo`."""
    readme = tmp_path / "README.md"
    readme.write_text(TEXT)

    assert commands(readme, "install") == "apt install ./one_*.deb\nother\n"


def test_no_block(tmp_path: Path) -> None:
    """A block that is not there, or is there twice, is an error: nothing would be tested."""
    readme = tmp_path / "README.md"
    readme.write_text(TEXT + TEXT)

    with pytest.raises(AssertionError, match="0 blocks"):
        commands(readme, "remove")
    with pytest.raises(AssertionError, match="2 blocks"):
        commands(readme, "install")
