"""Parses JSON at a cost that is bounded before the parser starts."""

import orjson

from server.base.refusal import Refusal, refuse

BODY_DEPTH_MAX = 250
"""How deep a body may nest. orjson reads 1024 levels and writes 254; what is accepted must be printable."""


def parse(body: bytes, json_containers_max: int) -> object | Refusal:
    """Return the parsed body; `invalid_json` if it is not JSON or nests too deep, `too_large` for too many containers.

    Brackets inside strings count as containers: this bounds the work without parsing.
    """
    if len(body) > json_containers_max and body.count(b"[") + body.count(b"{") > json_containers_max:
        return refuse("too_large", f"the body holds more than {json_containers_max} arrays and objects")
    try:
        parsed: object = orjson.loads(body)
    except ValueError as error:
        return refuse("invalid_json", f"the body is not JSON: {error}" if body else "the body is empty")
    if len(body) > 2 * BODY_DEPTH_MAX and not _printable(parsed):
        return refuse("invalid_json", f"the body nests deeper than {BODY_DEPTH_MAX} levels")
    return parsed


def _printable(parsed: object) -> bool:
    """Check the depth by writing: a fifth of the cost of reading, and the only exact check at C speed."""
    try:
        orjson.dumps([[[[parsed]]]])
    except TypeError:
        return False
    return True
