"""JSON from bytes, at a cost that is bounded before the parser starts."""

import orjson

from server.base.refusal import Refusal, refuse

BODY_DEPTH_MAX = 250
"""How deep a body may nest. orjson reads 1024 levels and writes 254; what is let in must be possible to print."""


def parse(body: bytes, json_containers_max: int) -> object | Refusal:
    """What the body says: `invalid_json` where it is no JSON or nests too deep, `too_large` beyond the containers.

    Brackets inside strings count as containers: this is a bound on the work, taken without parsing.
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
    """Writing is a fifth of the cost of reading, and the only exact test of depth that runs at C speed."""
    try:
        orjson.dumps([[[[parsed]]]])
    except TypeError:
        return False
    return True
