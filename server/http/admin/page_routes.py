"""`/` and `/page/…`: a page for people, made of the files in `page`. It holds no data: it asks the other routes.

What it shows was written by strangers. So the browser is told to run nothing but these files, and to ask nobody else.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from quart import Response
from quart_trio import QuartTrio

from server.base.refusal import refuse
from server.http.admin.view import Refused, scope
from server.http.answer import Answer
from server.http.asgi.routes import response
from server.http.head import Fields, Header
from server.http.operation import Content, operation
from server.observe.json_schema import TEXT

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
TYPES: Mapping[str, bytes] = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
"""By the end of a file's name. A file of another kind, as a licence, is not served."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
GUARDS: tuple[Header, ...] = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
)
"""`no-cache`: a browser may keep a file, and asks each time whether it is still the same."""

NO_FILE = refuse("not_found", "the page has no such file")


def add_page(app: QuartTrio) -> None:
    """Add the routes. The files are read now, and kept."""
    files = {path: _file(FOLDER / path) for path in _paths()}

    @operation("A page for people.", {200: Content("text/html", TEXT), 304: ()}, is_open=True)
    async def index() -> Response:
        return _unless_known(files[INDEX])

    @operation(
        "A file of that page.",
        {200: [Content(kind, TEXT) for kind in ("text/css", "text/javascript", "image/svg+xml", "text/html")], 304: ()},
        ["not_found"],
        is_open=True,
    )
    async def file(path: str) -> Response:
        if path not in files:
            raise Refused(NO_FILE)
        return _unless_known(files[path])

    app.add_url_rule("/", "page", index, methods=["GET"])
    app.add_url_rule("/page/<path:path>", "page_file", file, methods=["GET"])


def _paths() -> list[str]:
    return sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.suffix in TYPES)


def _file(path: Path) -> Answer:
    body = path.read_bytes()
    tag = b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode()
    return Answer(200, body, headers=((b"content-type", TYPES[path.suffix]), (b"etag", tag), *GUARDS))


def _unless_known(found: Answer) -> Response:
    """Return the file; that it is the same if the browser has it."""
    tag = dict(found.headers)[b"etag"]
    if Fields(scope()["headers"]).only(b"if-none-match") == tag:
        return response(Answer(304, b"", headers=((b"etag", tag), *GUARDS)))
    return response(found)
