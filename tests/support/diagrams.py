"""Diagrams: Mermaid text in the pages, and a picture of each that was drawn from it.

A picture's name is the hash of its text, so that none can be of another text. `picture` puts it into the built page;
`python -m tests.support.diagrams` draws those that are missing, with npm and Chromium, and removes those of no page.
"""

import hashlib
import html
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from pymdownx.superfences import SuperFencesException

from tests.support.pages import DOCS, pages

PICTURES = DOCS / "internals" / "diagrams"
MERMAID = "mermaid@12.3.0"
CHROMIUM = "chromium"

STYLE = {
    "startOnLoad": False,
    "theme": "neutral",
    "fontFamily": "sans-serif",
    "look": "classic",
    "flowchart": {"wrappingWidth": 400, "nodeSpacing": 40, "rankSpacing": 36},
    "deterministicIds": True,
}
DRAWING = """<!doctype html><meta charset="utf-8"><pre id="svg"></pre><script src="mermaid.min.js"></script><script>
mermaid.initialize(%s);
mermaid.render("%s", %s).then(drawn => document.getElementById("svg").textContent = drawn.svg);
</script>"""


def diagrams() -> list[str]:
    """Return the text of every diagram of the pages."""
    return [text for page in pages() for text in page.blocks("mermaid")]


def path_of(text: str) -> Path:
    """Return where the picture of this diagram is, or has to be."""
    return PICTURES / f"{hashlib.sha256(text.strip().encode()).hexdigest()[:12]}.svg"


def picture(source: str, _language: str, css_class: str, *_: Any, **__: Any) -> str:
    """Return the diagram as HTML; for the fences of `mkdocs.yml`. One without a picture fails the build."""
    path = path_of(source)
    if not path.exists():
        raise SuperFencesException(f"a diagram has no picture: run `python -m tests.support.diagrams`\n{source}")
    return f'<div class="{css_class}">{path.read_text()}</div>'


def _draw(text: str, directory: Path) -> str:
    page = directory / "page.html"
    page.write_text(DRAWING % (json.dumps(STYLE), f"d{path_of(text).stem}", json.dumps(text)))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    options += [f"--user-data-dir={directory / 'profile'}", "--virtual-time-budget=20000", "--dump-dom"]
    command = [CHROMIUM, *options, page.as_uri()]
    dumped = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    [escaped] = re.findall(r'<pre id="svg">(.+?)</pre>', dumped, re.DOTALL)
    svg = re.sub(r' data-points="[^"]*"', "", html.unescape(escaped))
    return re.sub(r"[0-9]+\.[0-9]{3,}", lambda number: f"{float(number[0]):.1f}", svg)


def main() -> None:
    """Draw what is missing."""
    texts = {path_of(text): text for text in diagrams()}
    PICTURES.mkdir(exist_ok=True)
    for path in PICTURES.glob("*.svg"):
        if path not in texts:
            path.unlink()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        subprocess.run(["npm", "pack", "--silent", MERMAID], cwd=directory, check=True)
        [packed] = directory.glob("mermaid-*.tgz")
        where = "package/dist/mermaid.min.js"
        subprocess.run(["tar", "-xzf", packed, "--strip-components=2", where], cwd=directory, check=True)
        for path, text in texts.items():
            if not path.exists():
                path.write_text(_draw(text, directory) + "\n")


if __name__ == "__main__":
    main()
