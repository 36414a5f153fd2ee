"""What a signature costs whoever checks it: the same work for a wrong one, and little for a head full of junk."""

import base64
import hmac
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from server.intake.claims import Claim, Message, verify
from server.intake.headers import scan, values_of
from server.intake.schemes import SCHEMES

SECRET, BODY, NOW = b"c2VjcmV0", b"{}", 1_614_265_330
WRONG = hmac.digest(b"another", BODY, "sha256")
WRONG_HEX, WRONG_BASE64 = WRONG.hex().encode(), base64.b64encode(WRONG)
SIGNATURES = {"standard-webhooks": b"webhook-signature", "stripe": b"stripe-signature"}
"""The header of each scheme that has a list of them."""
SEPARATORS = {"standard-webhooks": b" ", "stripe": b","}
HEAD_BYTES = 16_000


def signed(name: str) -> dict[bytes, bytes]:
    headers = SCHEMES[name].sign(Message(BODY, SCHEMES[name].key(SECRET), "msg_1", "made", NOW))
    return {key.encode(): value.encode() for key, value in headers.items()}


def claims(name: str, signature: bytes) -> Sequence[Claim]:
    """What a right head claims, with this in the place of its list."""
    scheme = SCHEMES[name]
    found = scheme.read(values_of(scan([*(signed(name) | {SIGNATURES[name]: signature}).items()]), scheme.headers))
    assert not isinstance(found, str)
    return found


def calls_of(called: Callable[[], object]) -> Counter[str]:
    """How often each function is called meanwhile."""
    calls: Counter[str] = Counter()

    def note(frame: Any, event: str, function: Any) -> None:
        if event in ("call", "c_call"):
            calls[frame.f_code.co_qualname if event == "call" else function.__qualname__] += 1

    sys.setprofile(note)
    try:
        called()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("standard-webhooks", b""),
        ("standard-webhooks", b"v1,"),
        ("standard-webhooks", b"v1a," + WRONG_BASE64),
        ("stripe", b""),
        ("stripe", b"v1="),
        ("stripe", b"v0=" + WRONG_HEX),
    ],
)
def test_unreadable_entries_cost_no_call(name: str, entry: bytes) -> None:
    """A head full of entries that cannot be read takes as many calls as one of them: anybody can send it."""
    right = signed(name)[SIGNATURES[name]]

    def read(count: int) -> None:
        assert len(claims(name, SEPARATORS[name].join([*[entry] * count, right]))[0].digests) == 1

    read(1)  # what is remembered of names is remembered now
    assert calls_of(partial(read, HEAD_BYTES // (len(entry) + 1))) == calls_of(partial(read, 1))


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_wrong_entry_is_the_same_work(name: str) -> None:
    """Wherever the right entry is in the list, or not there: one digest a key, and as many comparisons."""
    at, value = signed(name)[SIGNATURES[name]].rsplit(SEPARATORS[name], 1) if name == "stripe" else (b"", b"")
    value = value or signed(name)[SIGNATURES[name]]
    wrong = value[:3] + (WRONG_HEX if name == "stripe" else WRONG_BASE64)
    lists = [[*[wrong] * place, value, *[wrong] * (199 - place)] for place in (0, 100, 199)] + [[wrong] * 200]
    keys = [SCHEMES[name].key(secret) for secret in (SECRET, b"b3RoZXI=", b"YW5vdGhlcg==")]
    found = [claims(name, SEPARATORS[name].join([at, *each])) for each in lists]
    assert [verify(each, BODY, keys) is not None for each in found] == [True, True, True, False]
    work = [calls_of(partial(verify, each, BODY, keys)) for each in found]
    assert [work[0]] * 4 == work
    assert (work[0]["compare_digest"], work[0]["digest"]) == (600, 3)
