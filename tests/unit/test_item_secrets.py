"""Bodies whose items hold a secret: all of them have to, and what is left has it nowhere that it was."""

import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.base.refusal import UNAUTHORIZED, Refusal
from server.base.source import Source
from server.intake.auth import digest_of
from server.intake.batches import stored_items
from server.intake.handshakes import QUERY_BYTES_MAX, Handshake, asks_by_query, on_query
from server.intake.item_secrets import filled, proven
from server.intake.parse import Body, parse
from server.intake.schemes import CLIENT_STATE_CHARACTERS_MAX, SCHEMES
from tests.unit.test_sdk_bodies import written

STATE, OTHER = "state-secret-0123456789", "another-secret-987654321"
FOUND = SCHEMES["microsoft-graph"].secret
assert FOUND is not None
SECRET = FOUND
NAMES = ("clientState", "value", "id", "a", 'x"clientState', "\\", "é")
VALUES = ("clientState", '"clientState":', "é", "\U0001f600", "", "a,b", "}]", "\\")

scalars = st.one_of(st.none(), st.booleans(), st.integers(-(10**25), 10**25), st.sampled_from(VALUES), st.text())
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
items = st.dictionaries(st.sampled_from(NAMES), values, max_size=4)


def opened(text: str | bytes) -> Body:
    found = parse(text.encode() if isinstance(text, str) else text, 10_000)
    assert isinstance(found, Body)
    return found


def judged(text: str | bytes, *secrets: str) -> Body | Refusal:
    return proven(opened(text), SECRET, [digest_of(each.encode()) for each in secrets or (STATE,)])


def left(text: str | bytes, *secrets: str) -> bytes:
    found = judged(text, *secrets)
    assert isinstance(found, Body), found
    assert orjson.loads(found.text) == found.value
    return found.text


def why(text: str | bytes) -> str:
    found = judged(text)
    assert found == UNAUTHORIZED
    assert isinstance(found, Refusal)
    assert STATE not in found.why
    return found.why.removeprefix("signature: ")


@given(st.lists(items, min_size=1, max_size=4), items, st.randoms(use_true_random=False))
def test_all_but_the_secrets_stays(batch: list[dict[str, Any]], around: dict[str, Any], draw: random.Random) -> None:
    """What is left says the same without the secrets of the items, every digit of it; no other member leaves."""
    bare = [{name: value for name, value in item.items() if name != SECRET.name} for item in batch]
    whole = [item | {SECRET.name: STATE} for item in bare]
    found = left(written({**around, "value": whole}, draw))
    assert json.loads(found) == {**around, "value": bare}
    assert STATE.encode() not in found


@given(st.lists(items, min_size=1, max_size=4), st.data())
def test_one_item_without_it_refuses_all(batch: list[dict[str, Any]], data: st.DataObject) -> None:
    """Every item needs a right one: where one item has none, or another, nothing of the body is taken."""
    wrong = data.draw(st.integers(0, len(batch) - 1))
    others = st.one_of(values, st.sampled_from([OTHER, STATE[:-1], STATE + "x", STATE.upper(), [STATE], {"a": STATE}]))
    for item in batch:
        item[SECRET.name] = STATE
    batch[wrong][SECRET.name] = data.draw(others.filter(lambda value: value != STATE))
    assert judged(json.dumps({"value": batch})) == UNAUTHORIZED
    del batch[wrong][SECRET.name]
    assert judged(json.dumps({"value": batch})) == UNAUTHORIZED


def item(members: str = "", state: str = STATE) -> str:
    return f'{{"clientState":"{state}"{members}}}'


def body(*those: str) -> str:
    return f'{{"value":[{",".join(those)}]}}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (body(item()), '{"value":[{}]}'),
        (body(f'{{"a":1,"clientState":"{STATE}"}}'), '{"value":[{"a":1}]}'),
        (body(f'{{"a":1,"clientState":"{STATE}","b":2}}'), '{"value":[{"a":1,"b":2}]}'),
        (f' {{ "value" : [ {item()} , {item()} ] }} ', ' { "value" : [ {} , {} ] } '),
        (body(f'{{"client\\u0053tate":"{STATE}","a":1}}'), '{"value":[{"a":1}]}'),
        (f'{{"v\\u0061lue":[{{"\\u0063lientState":"{STATE}","a":1}}]}}', '{"v\\u0061lue":[{"a":1}]}'),
        (body(f'{{"clientState":"x","clientState":"{STATE}"}}'), '{"value":[{}]}'),
        (body(f'{{"clientState":"x","a":1,"client\\u0053tate":"{STATE}"}}'), '{"value":[{"a":1}]}'),
        (f'{{"value":[{{"clientState":["{STATE}"]}}],"value":[{item()}]}}', '{"value":[{}],"value":[{}]}'),
        (f'{{"clientState":7,"value":[{item()}]}}', '{"clientState":7,"value":[{}]}'),
        (
            body(item(',"a":{"clientState":1},"b":[{"clientState":2}]')),
            body('{"a":{"clientState":1},"b":[{"clientState":2}]}'),
        ),
        (
            '{"a":' + body('{"clientState":1}') + ',"value":[' + item() + "]}",
            '{"a":{"value":[{"clientState":1}]},"value":[{}]}',
        ),
        (body(item(',"a":12345678901234567890123.450')), '{"value":[{"a":12345678901234567890123.450}]}'),
        (body(item(',"a":"\\ud83d"')), '{"value":[{"a":"\\ufffd"}]}'),
        ("\ufeff" + body(item()), '{"value":[{}]}'),
        (body(item(state=STATE.replace("s", "\\u0073"))), '{"value":[{}]}'),
        (f'{{"value":[{item()}],"validationTokens":["t"]}}', '{"value":[{}],"validationTokens":["t"]}'),
    ],
)
def test_secrets_leave_with_their_commas(text: str, expected: str) -> None:
    """However it is written, wherever it stands and how often: only the items' own leaves, and the rest stays."""
    assert left(text) == expected.encode()


NO_ITEMS = "the body has no items in `value`"
NO_TEXT = "item {} has no text in `clientState`"
NONE_OF_THEM = "the `clientState` of item 0 is none of this source's secrets"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", NO_ITEMS),
        ("7", NO_ITEMS),
        ("{}", NO_ITEMS),
        (item(), NO_ITEMS),
        (body(), NO_ITEMS),
        ('{"value":null}', NO_ITEMS),
        (f'{{"value":{item()}}}', NO_ITEMS),
        (f"[{item()}]", NO_ITEMS),
        (f'{{"value":[{item()}],"value":[]}}', NO_ITEMS),
        (body(f'"{STATE}"'), NO_TEXT.format(0)),
        (body(item(), "{}"), NO_TEXT.format(1)),
        (body(item(), "7"), NO_TEXT.format(1)),
        (body(item(), f"[{item()}]"), NO_TEXT.format(1)),
        (body('{"clientState":7}'), NO_TEXT.format(0)),
        (body('{"clientState":null}'), NO_TEXT.format(0)),
        (body(f'{{"clientState":["{STATE}"]}}'), NO_TEXT.format(0)),
        (body(f'{{"a":{item()}}}'), NO_TEXT.format(0)),
        (body(f'{{"ClientState":"{STATE}"}}'), NO_TEXT.format(0)),
        (body(item(state="")), NONE_OF_THEM),
        (body(item(state=" " + STATE)), NONE_OF_THEM),
        (body(item(state="\\ud83d")), NONE_OF_THEM),
        (body(f'{{"clientState":"{STATE}","clientState":"x"}}'), NONE_OF_THEM),
    ],
)
def test_bodies_that_prove_nothing_are_refused(text: str, words: str) -> None:
    """No items, an item that is none, and a secret that is none: one 401 for all, and the record has the words."""
    assert why(text) == words


def test_any_secret_of_the_source_counts() -> None:
    """While two are configured, items of one body may have either."""
    text = body(item(), item(state=OTHER))
    assert left(text, OTHER, STATE) == b'{"value":[{},{}]}'
    assert judged(text, OTHER) == judged(text, STATE) == UNAUTHORIZED


def test_a_cut_text_has_other_values() -> None:
    """Where half a surrogate pair was repaired, both readings and the text as sent are without the secret."""
    found = judged(body(item(',"id":"\\ud83d"')))
    assert isinstance(found, Body)
    assert found.as_sent == b'{"value":[{"id":"\\ud83d"}]}'
    assert (found.value, found.other_value) == ({"value": [{"id": "\ufffd"}]}, {"value": [{"id": "\ufffe"}]})


@pytest.mark.parametrize(
    "text", ['{"value":[{"clientState":"%s","a', '{"client\\u0053tate" : "%s', '"clientState":"%s"']
)
def test_a_beginning_shows_no_secret(text: str) -> None:
    """In the record of a refused body every secret is masked, also in one that is cut off or escaped."""
    assert STATE.encode() not in SECRET.masked((text % STATE).encode())
    assert b"***" in SECRET.masked((text % STATE).encode())


def test_items_that_lack_it_are_filled() -> None:
    """What `send` makes of a body is right: only missing ones are put in, and other bodies stay as they are."""
    assert left(filled(b'{"value": [{"a": 1}, {"b": 2}]}', SECRET, STATE)) == b'{"value":[{"a":1},{"b":2}]}'
    for text in (
        b'{"value": [{"clientState": "x"}]}',
        b'{"value": []}',
        b"[{}]",
        b"{",
        b'{"value": 7}',
        b'{"value":[1]}',
    ):
        assert filled(text, SECRET, STATE) == text


def test_a_client_state_has_128_characters() -> None:
    """A longer secret is a mistake of the configuration, and so is one that is no text; no message holds it."""
    key = SCHEMES["microsoft-graph"].key
    assert key(("é" * CLIENT_STATE_CHARACTERS_MAX).encode()) == digest_of(("é" * 128).encode())
    for wrong in (b"x" * 129, b"abc\xff"):
        with pytest.raises(ValueError, match="clientState") as raised:
            key(wrong)
        assert "abc" not in str(raised.value)
        assert "xff" not in str(raised.value)


def test_stored_batches_are_found_again() -> None:
    """Every list that a scheme reads its items from is where what was stored is read from, too."""
    for scheme in SCHEMES.values():
        if scheme.secret is not None:
            assert stored_items("webhook", {scheme.secret.list_name: [1]}) == [1]
    assert stored_items("webhook", [2]) == [2]
    assert stored_items("segment", {"batch": [3]}) == [3]


GRAPH = Source("s", "webhook", (), (STATE.encode(),), (digest_of(STATE.encode()),), "microsoft-graph")


@pytest.mark.parametrize(
    ("query", "token"),
    [
        ("validationToken=abc", "abc"),
        (
            "validationToken=Validation%3a+Testing+client+Request-Id%3A%20a-b",
            "Validation: Testing client Request-Id: a-b",
        ),
        ("mine=1&validationToken=a%2Bb&theirs=2", "a+b"),
        ("validationToken=%C3%A9%E2%82%AC", "é€"),
        ("validationToken=%3Cscript%3E", "<script>"),
        ("validationToken=" + "x" * (QUERY_BYTES_MAX - 16), "x" * (QUERY_BYTES_MAX - 16)),
    ],
)
def test_a_validation_token_comes_back(query: str, token: str) -> None:
    """It is decoded as a form's field is, and nothing else of it is changed."""
    assert on_query(GRAPH, query.encode(), b"") == Handshake(token.encode(), is_text=True)


@pytest.mark.parametrize(
    "query",
    [
        "validationToken=", "validationToken", "validationToken=a&validationToken=a", "validationToken=%7f",
        "validationToken=a&validation%54oken=b", "validationToken=a%0d%0aX:%20b", "validationToken=%00",
        "validationToken=a&validationToken=b", "validationToken=%C2%85",
        "validationToken=%ff", "validationToken=%E2%80%A8", "validationToken=%EF%BF%BD",
        "validationTokens=a", "validationToken=" + "x" * (QUERY_BYTES_MAX - 15), "a=validationToken",
    ],
)  # fmt: skip
def test_other_questions_are_refused(query: str) -> None:
    """Twice, empty, with what no answer may hold, or too long: 401, and not taken for an event."""
    assert on_query(GRAPH, query.encode(), b"") == UNAUTHORIZED


def test_only_its_own_scheme_is_asked() -> None:
    """The query of another scheme's source, of one without secrets, or without the name asks nothing."""
    query = b"validationToken=abc"
    assert on_query(GRAPH, query, b"{}") == UNAUTHORIZED
    assert on_query(GRAPH, b"a=b", b"") is None
    for other in (Source("s", "webhook", (), (b"k",), (b"k",), "stripe"), Source("s", "webhook", (b"d",))):
        assert (asks_by_query(other, query), on_query(other, query, b"")) == (False, None)
