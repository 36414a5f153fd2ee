"""The pages build strictly, and a browser that shows them asks nobody else for anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages."""
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)]
    built = subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, check=False)
    assert built.returncode == 0
    return directory


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    """No script, style, font or picture of a page is named by a host."""
    for path in site.rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", path.read_text())
        loaded = [tag for tag in tags if re.search(r"(?:src|href)=[\"']?(?:https?:)?//", tag)]
        assert [tag for tag in loaded if 'rel="canonical"' not in tag] == [], path
    for path in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//[^)]*|@import[^;]*", path.read_text()) == [], path


def test_diagrams_are_in_the_page(site: Path) -> None:
    """The overview has its diagrams as pictures, and no text of one is left for a script to draw."""
    text = (site / "internals" / "overview.html").read_text()
    diagrams = page("docs/internals/overview.md").blocks("mermaid")
    assert text.count('<div class="diagram"><svg') == len(diagrams) > 0
    assert "stateDiagram-v2" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
