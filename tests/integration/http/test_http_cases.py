"""Requests that other parsers' tests are made of: each has its answers here, as it is and as a delivery."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.client import item
from tests.support.config import TOKEN, source
from tests.support.server import Children
from tests.support.strict_answers import answers_in, converse

PATH = Path(__file__).parents[2] / "data" / "http-cases.jsonl"
FIRST_LINE = re.compile(rb"\A((?:\r\n)*)[^ \r\n]+ [^\r\n]* (HTTP/1\.1\r\n)(?=.)", re.DOTALL)
DELIVERY = rb"\1POST /ingest/inbound/hook \2Authorization: Bearer " + TOKEN.encode() + b"\r\n"
HOST = re.compile(rb"(?mi)^host:")


def cases() -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each case, and its bytes."""
    for line in PATH.read_text().splitlines()[1:]:
        case = json.loads(line)
        yield case, case["text"].encode("latin-1")


def as_delivery(text: bytes) -> bytes:
    """The request with the first line of a delivery, a token, and a Host if it has none."""
    return FIRST_LINE.sub(DELIVERY + (b"" if HOST.search(text) else b"Host: a\r\n"), text, count=1)


def said(port: int, text: bytes) -> list[str]:
    return [f"{answer.status} {answer.code}".strip() for answer in answers_in(converse(port, [text]))]


def test_each_request_has_its_answers(children: Children) -> None:
    """As many answers as there are requests, the right ones, and nothing behind the last; the server lives on."""
    child = children(source("hook"))
    child.start()
    for case, text in cases():
        assert (case["name"], said(child.port, text)) == (case["name"], case["answers"])
        if "as_delivery" in case:
            assert (case["name"], said(child.port, as_delivery(text))) == (case["name"], case["as_delivery"])
    assert child.post("hook", item("good")).status == 200
    assert child.errors == []
