"""Text of senders that would drive a terminal, forge a line or turn words around is escaped wherever it is shown."""

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.support.config import TOKEN, source
from tests.support.server import Child, Children
from tests.support.strict_answers import converse
from tests.support.waiting import eventually

HOSTILE = (
    '\x1b]0;owned\x07\x1b[2J\r\n{"event":"forged"}\x00\x7f\x9b31m\u2028\u2029\x85\u202eabc\u2066\ufeff\U000e0041"\\'
)
FAILS = """
def fails(events):
    raise ValueError(events[0]["payload"]["text"])
"""


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """A server with one dead event, whose every text is hostile."""
    with Children(tmp_path_factory.mktemp("injection")) as children:
        made = children(source("demo", processor="failing:fails", processor_attempts_max=1))
        (made.directory / "failing.py").write_text(FAILS)
        made.start()
        event = {"inbound_event_id": HOSTILE, "event_type": HOSTILE, "payload": {"text": HOSTILE, HOSTILE: 1}}
        headers = {"X-Evil": "\x9b2J\xe2\x80\xae", "User-Agent": "\x80\xff"}
        assert made.post("demo", event, headers=headers).status == 200
        eventually(lambda: made.metrics()['tidegate_events_total{outcome="dead",source="demo"}'] == 1)
        yield made


def check_shown(text: str) -> None:
    """Raise AssertionError unless it is JSON that says the hostile text, in characters that are no more than that."""
    assert [each for each in text if not each.isprintable() and each != "\n"] == []
    assert HOSTILE in texts(json.loads(text))


def texts(value: object) -> Iterator[str]:
    """Yield every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from texts([*value, *value.values()])
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def test_commands_escape_what_senders_wrote(child: Child) -> None:
    """The reading commands print the same JSON, harmless to a terminal, and one line for each event."""
    for command in (("receipt",), ("receipt", "--all"), ("event",)):
        check_shown(child.cli(*command, "demo", "--", HOSTILE, check=True).stdout)
    check_shown(child.cli("delivery", child.delivered[0], check=True).stdout)
    (line,) = child.cli("dead", check=True).stdout.splitlines()
    check_shown(line)
    said = child.cli("receipt", "demo", "--", HOSTILE[1:])
    assert said.returncode == 1
    assert said.stderr.rstrip("\n").isprintable()


def test_admin_answers_escape_what_senders_wrote(child: Child) -> None:
    """So do the look-ups, which a person sees with curl, and a metric has no such text at all."""
    for path in (f"/receipts/demo/{quote(HOSTILE, safe='')}", f"/events/demo?event_id={quote(HOSTILE)}", "/dead"):
        check_shown(child.admin(path).body.decode())
    check_shown(child.admin(f"/deliveries/{child.delivered[0]}").body.decode())
    assert child.admin("/sources").body.decode().isprintable()
    assert "owned" not in child.admin("/metrics").body.decode()


def test_log_lines_escape_what_strangers_wrote(child: Child) -> None:
    """Each line of the log is JSON in ASCII, whatever stands in a request line, a header or an id."""
    for target in ("/%1b%5b2J\\x1b", "/\u202e\x9b", "/ingest/inbound/\x1b[2J", '/"}{"event":"forged"}'):
        line = f"POST {target} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: \x1b[2J\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        assert converse(child.port, [line.encode()]).startswith(b"HTTP/1.1 4")
    eventually(lambda: child.lines_of("refused"))
    assert child.errors == []
    assert "forged" not in {line["event"] for line in child.lines}
    for text in (text for line in child.lines for text in texts(line)):
        assert text.isprintable(), text
