"""Schemes of signatures: the vendors' own examples pass, everything else is refused without an exception."""

import base64
import hmac
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.intake.claims import Claim, Message, fresh, verify, why_stale
from server.intake.headers import scan, values_of
from server.intake.schemes import SCHEMES

RFC_4231 = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        b"\xaa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. "
        b"The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
]

NOW = 1_614_265_330
SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
Lines = Sequence[tuple[bytes, bytes]]
DIGEST = hmac.digest(b"secret", b"{}", "sha256")
HEX, BASE64 = DIGEST.hex().encode(), base64.b64encode(DIGEST)
SIGNING = [name for name, scheme in SCHEMES.items() if scheme.secret is None]
"""Those in which something is signed."""
LOOSE = BASE64[:-2] + bytes([BASE64[-2] + 1]) + b"="
"""Another way to write the same bytes, which decoders take."""


def claims(name: str, lines: Lines) -> Sequence[Claim]:
    """What a head claims; () if it is refused."""
    scheme = SCHEMES[name]
    found = scheme.read(values_of(scan(lines), scheme.headers))
    return () if isinstance(found, str) else found


def why_not(name: str, lines: Lines) -> str:
    scheme = SCHEMES[name]
    found = scheme.read(values_of(scan(lines), scheme.headers))
    assert isinstance(found, str)
    return found


def is_right(name: str, lines: Lines, body: bytes = BODY, *secrets: bytes) -> bool:
    scheme = SCHEMES[name]
    return verify(claims(name, lines), body, [scheme.key(each) for each in secrets or (SECRET,)]) is not None


def signed(name: str, secret: bytes = SECRET, body: bytes = BODY, at: int = NOW) -> dict[bytes, bytes]:
    """The headers of a right request."""
    scheme = SCHEMES[name]
    headers = scheme.sign(Message(body, scheme.key(secret), "msg_1", "made", at))
    return {key.encode(): value.encode() for key, value in headers.items()}


def lines(headers: Mapping[bytes, bytes], **changed: bytes | None) -> Lines:
    """The headers with others in their places, named with _ for -; None takes one out."""
    there = {key.replace("_", "-").encode(): value for key, value in changed.items()}
    return [(key, value) for key, value in ({**headers, **there}).items() if value is not None]


@pytest.mark.parametrize(("key", "data", "digest"), RFC_4231)
def test_convertmax_signs_with_hmac_sha256(key: bytes, data: bytes, digest: str) -> None:
    """The vectors of RFC 4231 pass in lower and upper case, with and without the prefix, which we write."""
    name = b"x-convertmax-signature"
    assert signed("convertmax", key, data) == {name: f"sha256={digest}".encode()}
    for written in (digest, digest.upper(), f"sha256={digest}", f"sha256={digest.upper()}", f" {digest}\t"):
        assert is_right("convertmax", [(name, written.encode())], data, key)
    assert not is_right("convertmax", [(name, digest.encode())], data + b"\n", key)
    for junk in (f"{digest}0", f"0{digest}", f"{digest},", f"{digest}\n", f"sha256=sha256={digest}", digest[:-1]):
        assert claims("convertmax", [(name, junk.encode())]) == ()


EXAMPLES: Mapping[str, tuple[bytes, bytes, Lines]] = {
    "standard-webhooks": (
        SECRET,
        BODY,
        [
            (b"webhook-id", b"msg_p5jXN8AQM9LWM0D4loKWxJek"),
            (b"webhook-timestamp", b"1614265330"),
            (b"webhook-signature", b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ],
    ),
    "github": (
        b"It's a Secret to Everybody",
        b"Hello, World!",
        [(b"x-hub-signature-256", b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")],
    ),
    "slack": (
        b"8f742231b10e8888abcd99yyyzzz85a5",
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
        [
            (b"x-slack-request-timestamp", b"1531420618"),
            (b"x-slack-signature", b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ],
    ),
}
"""Those that the vendors publish."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_published_examples_are_right(name: str) -> None:
    """What a vendor's documentation shows is accepted, and nothing beside it."""
    secret, body, headers = EXAMPLES[name]
    assert is_right(name, headers, body, secret)
    assert not is_right(name, headers, body + b" ", secret)
    assert not is_right(name, headers, body, secret[:-4])


@pytest.mark.parametrize("name", SIGNING)
def test_what_is_signed_is_accepted(name: str) -> None:
    """What we sign is right under that secret alone, also as the second of two, with white space around."""
    other = base64.b64encode(b"another secret")
    assert is_right(name, lines(signed(name)))
    assert is_right(name, lines(signed(name)), BODY, other, SECRET)
    assert is_right(name, [(key, b" %b\t" % value) for key, value in signed(name).items()])
    assert not is_right(name, lines(signed(name)), BODY, other)
    assert not is_right(name, lines(signed(name)), BODY[:-1])
    assert not is_right(name, lines(signed(name, body=b"")))
    assert verify(claims(name, lines(signed(name))), BODY, []) is None


@pytest.mark.parametrize("name", SIGNING)
def test_each_header_is_needed_once(name: str) -> None:
    """Without one of its headers, or with one twice, even alike, a head is refused, and the words say which."""
    headers = signed(name)
    for needed in set(headers) & set(SCHEMES[name].headers):
        without = [(key, value) for key, value in headers.items() if key != needed]
        assert why_not(name, without) == f"`{needed.decode()}` is missing"
        assert why_not(name, [*headers.items(), (needed, headers[needed])]) == f"`{needed.decode()}` came twice"


@pytest.mark.parametrize(
    "value",
    [
        b"", b"v1", b"v1,", b"v1a," + BASE64, b"v1 ," + BASE64, BASE64, b"v1," + BASE64[:-1], b"v1,=" + BASE64,
        b"v1," + BASE64[:20] + b"!" + BASE64[20:], b"v1," + BASE64.replace(b"=", b"=="), b"v1," + LOOSE,
        b"v1," + base64.b64encode(DIGEST + b"x"), b"v1,\xff" + BASE64[1:], b"V1," + BASE64, b"v1;" + BASE64,
        b"v1," + base64.urlsafe_b64encode(b"\xff" * 32),
    ],
)  # fmt: skip
def test_unreadable_entries_are_skipped(value: bytes) -> None:
    """An entry that cannot be read, of another version, or not quite base64 is none; a right one beside it counts."""
    headers = signed("standard-webhooks")
    assert claims("standard-webhooks", lines(headers, webhook_signature=value)) == ()
    for both in (value + b" " + headers[b"webhook-signature"], headers[b"webhook-signature"] + b" " + value):
        assert is_right("standard-webhooks", lines(headers, webhook_signature=both))


@pytest.mark.parametrize(
    "written", [b"", b"-1", b"+1", b"1.0", b"1614265330abc", b"0x1", b"1" * 13, b"\xd9\xa1", b"1 2"]
)
def test_timestamps_are_plain_digits(written: bytes) -> None:
    """A timestamp is 1 to 12 ASCII digits, and signed as it is written."""
    assert claims("standard-webhooks", lines(signed("standard-webhooks"), webhook_timestamp=written)) == ()
    assert claims("slack", lines(signed("slack"), x_slack_request_timestamp=written)) == ()
    assert claims("stripe", [(b"stripe-signature", b"t=%b,v1=%b" % (written, HEX))]) == ()
    padded = b"%012d" % NOW
    digest = hmac.digest(SECRET, padded + b"." + BODY, "sha256").hex().encode()
    assert is_right("stripe", [(b"stripe-signature", b"t=%b,v1=%b" % (padded, digest))])


def test_stripe_takes_any_right_entry() -> None:
    """Several v1 are a rotation; other keys are skipped; a second t= is refused, and so is none."""
    value = signed("stripe")[b"stripe-signature"]
    at, right = value.split(b",")
    for entries in ([at, b"v1=" + HEX, right], [right, at], [at, b"v0=" + HEX, right, b"v1=junk", b"x", b"=", b""]):
        assert is_right("stripe", [(b"stripe-signature", b",".join(entries))])
    for entries in ([right], [at, at, right], [at, b"t=", right], [at], [at, b"v1=" + HEX[:-1]], [at, b"v0=" + HEX]):
        assert claims("stripe", [(b"stripe-signature", b",".join(entries))]) == ()


@pytest.mark.parametrize("family", ["webhook-", "svix-"])
def test_an_empty_id_signs_nothing(family: str) -> None:
    """Standard Webhooks needs an id: an empty one is refused with the head, however right the signature is."""
    key = SCHEMES["standard-webhooks"].key(SECRET)
    right = SCHEMES["standard-webhooks"].sign(Message(BODY, key, "", "made", NOW))
    for empty in (b"", b" \t"):
        headers = [(name.replace("webhook-", family).encode(), value.encode()) for name, value in right.items()]
        headers[0] = (headers[0][0], empty)
        assert why_not("standard-webhooks", headers) == f"`{family}id` is empty"


def test_one_family_must_verify_alone() -> None:
    """Headers of two families are never mixed; the one that verifies names the event."""
    headers = signed("standard-webhooks")
    svix = {key.replace(b"webhook-", b"svix-"): value for key, value in headers.items()}
    key = SCHEMES["standard-webhooks"].key(SECRET)
    assert is_right("standard-webhooks", lines(svix))
    mixed = [*lines(headers, webhook_id=None), (b"svix-id", b"msg_1")]
    assert claims("standard-webhooks", mixed) == ()
    for wrong, right, family in ((headers, svix, "svix-"), (svix, headers, "webhook-")):
        name = next(iter(wrong))
        found = verify(claims("standard-webhooks", [*lines({**wrong, name: b"other"}), *lines(right)]), BODY, [key])
        assert found is not None
        assert found.family == family


@pytest.mark.parametrize(
    "secret", [b"not base64!", b"", b"whsec_", b"whsec_a", b"a b", b"\xff", b"whsec_whsec_YQ==", b"="]
)
def test_standard_webhooks_needs_base64(secret: bytes) -> None:
    """A secret that is not base64 is a mistake, said without the secret; padding and prefix may be left out."""
    with pytest.raises(ValueError, match="base64") as raised:
        SCHEMES["standard-webhooks"].key(secret)
    assert str(raised.value) == "is not base64, with or without whsec_, as standard-webhooks has it"
    assert {SCHEMES["standard-webhooks"].key(each) for each in (b"YQ", b"YQ==", b"whsec_YQ", b"whsec_YQ==")} == {b"a"}


def test_old_and_future_claims_are_stale() -> None:
    """A timestamp may be off by the tolerance in either direction; schemes without one are always of this time."""
    found = claims("stripe", lines(signed("stripe")))
    for off in (-300, -1, 0, 299.5, 300):
        assert (fresh(found, NOW + off, 300), why_stale(found, NOW + off, 300)) == (found, "")
    assert why_stale(found, NOW + 412, 300) == "timestamp 412 s old, tolerance 300 s"
    assert why_stale(found, NOW - 301, 300) == "timestamp 301 s ahead, tolerance 300 s"
    assert fresh(found, NOW + 301, 300) == []
    undated = claims("github", lines(signed("github")))
    assert fresh(undated, 0, 1) == undated


ANY_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(sorted({name for scheme in SCHEMES.values() for name in scheme.headers})),
        st.one_of(
            st.binary(max_size=80),
            st.text(alphabet="vt10,=. abcdefABCDEF+/", max_size=100).map(str.encode),
            st.sampled_from([b"v1," + BASE64, b"t=1,v1=" + HEX, b"v0=" + HEX, b"sha256=" + HEX, BASE64, HEX, b"1"]),
        ),
    ),
    max_size=6,
)


@given(ANY_HEADERS, st.binary(max_size=50))
@example([(b"webhook-signature", "ü".encode())] * 2, b"")
def test_any_headers_are_judged(headers: Lines, body: bytes) -> None:
    """Any headers and any bytes are accepted or refused, and what was not signed is refused."""
    for name in SCHEMES:
        assert not is_right(name, headers, body)
