"""The pages: the README and all of docs/, as the tests that keep them true read them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@dataclass(frozen=True)
class Page:
    """One of them."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def prose(self) -> str:
        """The text without its blocks of code."""
        return re.sub(r"^```.*?^```\n", "", self.text, flags=re.DOTALL | re.MULTILINE)

    def blocks(self, language: str) -> list[str]:
        """Return the blocks of code in this language."""
        return re.findall(rf"^```{language}\n(.*?)^```", self.text, re.DOTALL | re.MULTILINE)

    def cells(self) -> Iterator[str]:
        """Yield the cells of its tables."""
        for line in self.prose.splitlines():
            if line.startswith("|"):
                yield from (cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|")))


def page(name: str) -> Page:
    """Return the page with this path, from the root of the repository."""
    return Page(ROOT / name, (ROOT / name).read_text())


def pages() -> list[Page]:
    """Return the README, the changelog and all of docs/."""
    found = sorted(DOCS.rglob("*.md"))
    return [page(path.relative_to(ROOT).as_posix()) for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *found)]


def all_text() -> str:
    """Return the text of all of them."""
    return "\n".join(each.text for each in pages())
