"""
Makes the manual pages: `manpages.py DOCS TO`.

A page `NAME.in` has a line `@PAGE.md@`, in whose place come the tables of options of that page of the documentation.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

CELL = re.compile(r"(?<!\\)\|")


def main(docs: Path, target: Path) -> None:
    """Write all of them."""
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted((docs / "man").iterdir()):
        text = file.read_text(encoding="utf-8")
        text = re.sub(r"^@(.+)@$", lambda found: options_of(docs / found[1]), text, flags=re.MULTILINE)
        (target / file.name.removesuffix(".in")).write_text(text, encoding="utf-8")


def options_of(page: Path) -> str:
    """The tables whose first column is headed `option`, in roff; ends the build when there are none."""
    lines = list(roff_lines(page.read_text(encoding="utf-8").splitlines()))
    if not lines:
        sys.exit(f"{page}: there is no table of options; see debian/manpages.py")
    return "\n".join(lines)


def roff_lines(lines: list[str]) -> Iterator[str]:
    """One paragraph per option, one section per heading that names one."""
    section, is_options = "", False
    for line in lines:
        if found := re.match(r"## (\[\w+\])", line):
            section = f".SS {found[1]}"
        if not line.startswith("|"):
            is_options = False
        elif line.startswith("| option |"):
            is_options = True
        elif is_options and not line.startswith("|-") and not line.startswith("| -"):
            if section:
                yield section
                section = ""
            yield from option_lines(*(cell.strip() for cell in CELL.split(line)[1:4]))


def option_lines(name: str, default: str, meaning: str) -> Iterator[str]:
    """What a row says."""
    yield ".TP"
    yield f".B {roff(name.strip('`'))}"
    yield roff(f"{meaning[0].upper()}{meaning[1:]}.")
    yield "It has no default." if default == "required" else roff(f"Default: {default}.")


def roff(text: str) -> str:
    """Markdown of one line."""
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text.replace("\\|", "|").replace("…", "..."))
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"`([^`]+)`", r"\\fB\1\\fP", text)
    return f"\\&{text}" if text[:1] in (".", "'") else text


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
