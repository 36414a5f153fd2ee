"""The files of the page at `/` of the admin side: what they are served with, and that nothing else is below it."""

import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.config import source
from tests.support.pages import ROOT
from tests.support.server import Child, Children

pytestmark = pytest.mark.xdist_group("page-files")  # one server for all of them

FOLDER = ROOT / "server" / "http" / "admin" / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
UPLOT = {
    "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
"""SHA-256 of the files of uPlot 1.6.32, as its package has them."""
INTO_HTML = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|srcdoc")

OUR_FILES = sorted(path for path in FOLDER.rglob("*") if path.suffix in TYPES)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """A server that wants a token on its admin side."""
    with Children(tmp_path_factory.mktemp("page-files")) as children:
        child = children(source("demo"), server_keys='admin_token = "file:admin-token"')
        (child.directory / "admin-token").write_text("secret\n")
        with child:
            yield child


@pytest.mark.parametrize("path", [path.relative_to(FOLDER).as_posix() for path in OUR_FILES])
def test_files_are_served_without_a_token(server: Child, path: str) -> None:
    """Each file of the page is there for anybody, with its type and with what keeps a browser from running others."""
    found = server.admin("/" if path == "index.html" else f"/page/{path}")
    assert (found.status, found.body) == (200, (FOLDER / path).read_bytes())
    assert found.headers["content-type"] == TYPES[Path(path).suffix]
    assert found.headers["content-security-policy"] == POLICY
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["cache-control"] == "no-cache"


def test_a_known_file_is_not_sent_again(server: Child) -> None:
    """Who has a file is told that it is still the same; who has another gets it."""
    tag = server.admin("/").headers["etag"]
    same = server.admin("/", headers={"If-None-Match": tag})
    assert (same.status, same.body, same.headers["content-security-policy"]) == (304, b"", POLICY)
    assert server.admin("/", headers={"If-None-Match": '"other"'}).status == 200


@pytest.mark.parametrize(
    "path", ["", "nothing", "../routes.py", "%2e%2e/routes.py", "vendor/uPlot/LICENSE", "vendor", "../../metrics", "/"]
)
def test_nothing_else_is_below_the_page(server: Child, path: str) -> None:
    """What is open without a token are the files of the page alone, however a path is written."""
    found = server.admin(f"/page/{path}")
    assert (found.status, found.json["code"]) == (404, "not_found")


def test_foreign_pages_do_not_get_it(server: Child, children: Children) -> None:
    """The guards of the admin side hold for the page: a foreign Origin, and without a token a Host with a name."""
    assert server.admin("/", headers={"Origin": "http://evil.example"}).status == 403
    with children(source("demo")) as child:
        for path in ("/", "/page/page.js"):
            assert child.admin(path).status == 200
            assert child.admin(path, headers={"Host": "evil.example"}).status == 403


def test_vendored_files_are_what_their_maker_published() -> None:
    """The files of uPlot are those of its package, its licence among them."""
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (FOLDER / "vendor/uPlot").iterdir()}
    assert found == UPLOT


def test_no_text_becomes_part_of_the_page() -> None:
    """No script of the page has a text parsed as HTML or run, and none names another host."""
    ours = [path for path in OUR_FILES if "vendor" not in path.parts]
    assert len(ours) > 10
    for path in ours:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert INTO_HTML.findall(text) == [], path
        assert re.findall(r"(?:https?:)?//[\w.-]+\.\w", re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)) == [], path
        assert "<style" not in text, path
        assert " style=" not in text, path


def test_the_wheel_has_the_page(tmp_path: Path) -> None:
    """What is installed from a wheel has every file of the page, the licence of what is not ours among them."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    wanted = {path.relative_to(ROOT).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert len(wanted) > len(UPLOT)
    assert wanted - names == set()
