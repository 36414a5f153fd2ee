"""The vendors' own packages beside ours: what one signs the other accepts, and where theirs are sloppy ours is not."""

import base64
import string
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier
from stripe import SignatureVerificationError, WebhookSignature
from svix.webhooks import Webhook as SvixWebhook

from server.intake.claims import Claim, Message, fresh, verify
from server.intake.headers import scan, values_of
from server.intake.schemes import SCHEMES

Headers = Mapping[str, str]
TOLERANCE_SECONDS = 300
SECRET, EVENT_ID, BODY = base64.b64encode(b"a key of 24 random bytes").decode(), "msg_1", '{"type":"made"}'


def _standard(package: Any, family: str, **keys: bool) -> tuple[Callable[..., Headers], Callable[..., Any]]:
    """The signer and the verifier of a package of Standard Webhooks. `keys`: more that its verifier is told."""

    def sign(secret: str, event_id: str, at: int, body: str) -> Headers:
        signature = package(secret).sign(event_id, datetime.fromtimestamp(at, tz=UTC), body)
        return {f"{family}id": event_id, f"{family}timestamp": str(at), f"{family}signature": signature}

    return sign, lambda secret, headers, body: package(secret).verify(body, dict(headers), **keys)


def _stripe_sign(secret: str, _: str, at: int, body: str) -> Headers:
    return {"stripe-signature": WebhookSignature.generate_signature_header(body, secret, at)}


def _stripe_verify(secret: str, headers: Headers, body: str) -> None:
    WebhookSignature.verify_header(body, headers["stripe-signature"], secret, TOLERANCE_SECONDS)


def _slack_sign(secret: str, _: str, at: int | str, body: str) -> Headers:
    signature = SignatureVerifier(secret).generate_signature(timestamp=str(at), body=body)
    assert signature is not None
    return {"x-slack-signature": signature, "x-slack-request-timestamp": str(at)}


def _slack_verify(secret: str, headers: Headers, body: str) -> None:
    if not SignatureVerifier(secret).is_valid_request(body, dict(headers)):
        raise standardwebhooks.WebhookVerificationError


BASE64_SECRETS = st.builds(
    lambda key, prefix, padded: prefix + (key if padded else key.rstrip("=")),
    st.binary(min_size=1, max_size=80).map(lambda key: base64.b64encode(key).decode()),
    st.sampled_from(["", "whsec_"]),
    st.booleans(),
)
TEXT_SECRETS = st.text(min_size=1, max_size=80).filter(lambda secret: secret.strip() != "")
REFUSALS = (standardwebhooks.WebhookVerificationError, SignatureVerificationError)
"""How the packages say no."""


class Vendor(NamedTuple):
    """One package: the scheme it is of, its signer and verifier, and the secrets that it takes."""

    scheme: str
    sign: Callable[..., Headers]
    verify: Callable[..., Any]
    secrets: st.SearchStrategy[str]


VENDORS = {
    "standardwebhooks": Vendor(
        "standard-webhooks",
        *_standard(standardwebhooks.Webhook, "webhook-", json_parse=False),
        secrets=BASE64_SECRETS,
    ),
    "svix": Vendor("standard-webhooks", *_standard(SvixWebhook, "svix-"), secrets=BASE64_SECRETS),
    "stripe": Vendor("stripe", _stripe_sign, _stripe_verify, TEXT_SECRETS),
    "slack_sdk": Vendor("slack", _slack_sign, _slack_verify, TEXT_SECRETS),
}


def claims(name: str, headers: Headers) -> Sequence[Claim]:
    """What a head claims that is of this time; () if it is refused."""
    scheme = SCHEMES[name]
    lines = [(key.encode(), value.encode()) for key, value in headers.items()]
    found = scheme.read(values_of(scan(lines), scheme.headers))
    return () if isinstance(found, str) else fresh(found, time.time(), TOLERANCE_SECONDS)


def is_right(name: str, secret: str, headers: Headers, body: bytes) -> bool:
    """Whether ours accepts it."""
    return verify(claims(name, headers), body, [SCHEMES[name].key(secret.encode())]) is not None


def ours(name: str, secret: str, body: bytes, *, event_id: str = EVENT_ID) -> Headers:
    """The headers that we send."""
    scheme = SCHEMES[name]
    return scheme.sign(Message(body, scheme.key(secret.encode()), event_id, "made", now()))


def now() -> int:
    """The packages look at the clock, and let nobody set it."""
    return int(time.time())


EVENT_IDS = st.text(alphabet=string.ascii_letters + string.digits + "_-.", min_size=1, max_size=60)


@pytest.mark.parametrize("name", VENDORS)
@given(data=st.data(), body=st.text(max_size=200), event_id=EVENT_IDS)
def test_what_vendors_sign_is_accepted(name: str, data: st.DataObject, body: str, event_id: str) -> None:
    """Whatever the body and the secret, the vendor's signature is right for us, and for that body alone."""
    vendor, secret = VENDORS[name], data.draw(VENDORS[name].secrets)
    headers = vendor.sign(secret, event_id, now(), body)
    assert is_right(vendor.scheme, secret, headers, body.encode())
    assert not is_right(vendor.scheme, secret, headers, body.encode() + b" ")


@pytest.mark.parametrize("name", VENDORS)
@given(data=st.data(), body=st.text(max_size=200), event_id=EVENT_IDS)
def test_vendors_accept_what_we_sign(name: str, data: st.DataObject, body: str, event_id: str) -> None:
    """Whatever the body and the secret, the vendor's verifier takes our headers, and for that body alone."""
    vendor, secret = VENDORS[name], data.draw(VENDORS[name].secrets)
    headers = ours(vendor.scheme, secret, body.encode(), event_id=event_id)
    vendor.verify(secret, headers, body)
    with pytest.raises(REFUSALS):
        vendor.verify(secret, headers, body + " ")


def test_bodies_that_are_no_text_count() -> None:
    """A body is signed as bytes, compressed or not UTF-8; the packages decode it first, and raise."""
    body = b"\x1f\x8b\xff\x00"
    for name, vendor in VENDORS.items():
        headers = ours(vendor.scheme, SECRET, body)
        assert is_right(vendor.scheme, SECRET, headers, body), name
        with pytest.raises(UnicodeDecodeError):
            vendor.verify(SECRET, headers, body)


class Sloppy(NamedTuple):
    """A head that a vendor's verifier lets through, or that makes it raise what is no refusal."""

    vendor: str
    change: Callable[[dict[str, str], str], Headers]
    """From the vendor's right headers and their timestamp."""
    raises: type[Exception] | None = None
    is_skipped: bool = False
    """Whether ours goes on to the right entry beside it; else ours refuses."""


def _signatures(pattern: str) -> Callable[[dict[str, str], str], Headers]:
    """With this signature: `{}` is the right one, `{bare}` its base64, `{half}{rest}` too, and `{loose}` loosely so."""

    def change(headers: dict[str, str], _: str) -> Headers:
        name = next(name for name in headers if name.endswith("signature"))
        right = headers[name]
        bare = right.rpartition(",")[2]
        loose = bare[:-2] + chr(ord(bare[-2]) + 1) + "="
        return headers | {name: pattern.format(right, bare=bare, half=bare[:20], rest=bare[20:], loose=loose)}

    return change


def _timestamp(pattern: str) -> Callable[[dict[str, str], str], Headers]:
    """With this timestamp, signed so if the vendor signs it as it is written."""

    def change(headers: dict[str, str], at: str) -> Headers:
        written = _written(pattern, at)
        if "x-slack-signature" in headers:
            return _slack_sign(SECRET, EVENT_ID, written, BODY)
        if "stripe-signature" in headers:
            return {"stripe-signature": headers["stripe-signature"].replace(f"t={at}", f"t={written}")}
        return headers | {"webhook-timestamp": written}

    return change


def _written(pattern: str, at: str) -> str:
    arabic = at.translate({ord("0") + digit: 0x660 + digit for digit in range(10)})
    return pattern.format(at, grouped=f"{int(at):_}", arabic=arabic)


def _mixed(headers: dict[str, str], at: str) -> Headers:
    return {name.replace("svix-", "webhook-") if "id" not in name else name: each for name, each in headers.items()}


SLOPPY = {
    "an entry without a comma": Sloppy("standardwebhooks", _signatures("junk {}"), ValueError, is_skipped=True),
    "an entry of two commas": Sloppy("standardwebhooks", _signatures("v1,a,b {}"), ValueError, is_skipped=True),
    "two blanks": Sloppy("standardwebhooks", _signatures("v1a,x  {}"), ValueError, is_skipped=True),
    "an entry cut short": Sloppy("standardwebhooks", _signatures("v1,A {}"), ValueError, is_skipped=True),
    "an entry beyond ASCII": Sloppy("standardwebhooks", _signatures("v1,é {}"), ValueError, is_skipped=True),
    "junk inside base64": Sloppy("standardwebhooks", _signatures("v1,{half}!{rest}")),
    "junk after base64": Sloppy("standardwebhooks", _signatures("v1,{bare}junk")),
    "another way to write the bytes": Sloppy("standardwebhooks", _signatures("v1,{loose}")),
    "mixed families": Sloppy("svix", _mixed),
    "a second equals sign": Sloppy("stripe", _signatures("{}=junk")),
    "a second time": Sloppy("stripe", _signatures("{},t=1")),
    "an entry without a value": Sloppy("stripe", _signatures("v1,{}"), SignatureVerificationError, is_skipped=True),
    "a hex digit beyond ASCII": Sloppy("stripe", _signatures("{},v1=é"), is_skipped=True),
    "a signature beyond ASCII": Sloppy("slack_sdk", _signatures("v0=é"), TypeError),
    "words for a time": Sloppy("slack_sdk", _timestamp("{}abc"), ValueError),
    "no time": Sloppy("slack_sdk", _timestamp(""), ValueError),
} | {
    f"{vendor}: {pattern}": Sloppy(vendor, _timestamp(pattern))
    for vendor, patterns in {
        "standardwebhooks": ("{}.9", "{}e0", "+{}", "{grouped}", "{arabic}", "0{}"),
        "stripe": ("+{}", " {} ", "{grouped}", "{arabic}", "0{}"),
        "slack_sdk": ("+{}", "{grouped}", "{arabic}"),
    }.items()
    for pattern in patterns
}


@pytest.mark.parametrize("what", SLOPPY)
def test_what_vendors_let_through_is_refused(what: str) -> None:
    """Ours refuses it, or skips the entry, without an exception; a timestamp is used as it is written."""
    sloppy, at = SLOPPY[what], now()
    vendor = VENDORS[sloppy.vendor]
    headers = sloppy.change(dict(vendor.sign(SECRET, EVENT_ID, at, BODY)), str(at))
    if sloppy.raises is None:
        vendor.verify(SECRET, headers, BODY)
    else:
        with pytest.raises(sloppy.raises):
            vendor.verify(SECRET, headers, BODY)
    assert is_right(vendor.scheme, SECRET, headers, BODY.encode()) is sloppy.is_skipped


def test_times_ahead_are_refused() -> None:
    """A signature of the future is none for us, while Stripe's verifier looks only backwards."""
    headers = _stripe_sign(SECRET, EVENT_ID, now() + 10 * TOLERANCE_SECONDS, BODY)
    _stripe_verify(SECRET, headers, BODY)
    assert claims("stripe", headers) == []


@pytest.mark.parametrize("name", VENDORS)
def test_an_entry_of_another_key_is_skipped(name: str) -> None:
    """While a secret is rotated a vendor signs with both, and either of ours finds its own; Slack's has no list."""
    vendor, other = VENDORS[name], base64.b64encode(b"another secret").decode()
    at = now()
    first, second = (vendor.sign(secret, EVENT_ID, at, BODY) for secret in (SECRET, other))
    signature = next(key for key in first if key.endswith("signature"))
    joined = {"standard-webhooks": " ", "stripe": ",", "slack": ""}[vendor.scheme]
    both = {**first, signature: first[signature] + joined + second[signature].replace(f"t={at},", "")}
    for secret in (SECRET, other):
        assert is_right(vendor.scheme, secret, both, BODY.encode()) is (vendor.scheme != "slack")
