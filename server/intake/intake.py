"""The whole policy of intake on one screen: bytes, headers, a time and a limiter in; a delivery or a refusal out.

(`read_many.py` does the same for many plain single events at once; a test checks that the two agree.)

The bearer token is checked before the body is read, by the gate; everything about the body is checked here, in the
contract's order: signature, Content-Encoding, JSON, normalisation, rate limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson

from server.base.refusal import Refusal, refuse, unauthorized
from server.base.source import Source
from server.intake import normalise
from server.intake.claims import Claim, fresh, verify, why_stale
from server.intake.decode import Buffer, decode
from server.intake.handshakes import Handshake, on_post, on_query
from server.intake.headers import Scanned, values_of
from server.intake.item_secrets import proven
from server.intake.parse import Body, parse
from server.intake.places import header_names
from server.intake.rate_limit import Gcra
from server.intake.routes import INBOUND, Route
from server.intake.schemes import SCHEMES, secret_of
from server.intake.sdk_bodies import prepared
from server.intake.secret_members import SecretMember
from storage.deliveries import Deliveries, Rejection
from storage.frozen import frozen
from storage.statuses import EventStatus

_FORM_ADVICE = (
    "its Content-Type is a form's, and only JSON is taken: choose application/json as the content type at the sender"
)


UNKNOWN_BODY_BYTES_MAX = 2**20
"""Of a body that is read to find the key in it, also once it is decoded: twice what Segment's SDKs send."""

UNKNOWN_SHARE = 8
"""Such bodies may hold this part of `in_flight_bytes_max` together, beside the others."""


@frozen
class DeliveryHead:
    """A delivery before its body. Immutable: requests with equal heads share one."""

    source_id: str
    """As the target says; "" at the root, where the key finds the source."""
    authorization: bytes | None
    """The credential, as in a header. None if it is not in the head."""
    scanned: Scanned
    content_length: int | None
    """None if the body is chunked."""
    remote_addr: str
    route: Route | None = None
    """That of SDKs by which it came; None for the source's own."""
    origin: bytes | None = None
    """Of the page that sends it, by an SDK's route; b"" if it says several."""
    query: bytes = b""
    """Of a target that is the source's own route."""

    @property
    def path(self) -> str:
        """Its route, for the log."""
        below = f"{INBOUND}{self.source_id}" if self.source_id else ""
        return below if self.route is None else below + self.route.suffix

    @property
    def is_retried(self) -> bool:
        """Whether an SDK says that it sends this again."""
        return self.route is not None and "x-retry-count" in self.scanned.kept

    @property
    def lacks_key(self) -> bool:
        """Whether its key can only be in its body."""
        return self.route is not None and self.authorization is None


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """What one body may cost, as `[limits]` says."""

    body_bytes_max: int
    """As received. Checked while it is being read, before intake."""
    decoded_bytes_max: int
    json_containers_max: int
    batch_events_max: int


@frozen
class Admission:
    """Deliveries after the rate limit: the first `admitted` events are queued, the others get the status `rest`."""

    deliveries: Deliveries
    admitted: int
    rest: EventStatus = EventStatus.DEFERRED
    """DEFERRED or DROPPED; meaningless if all are admitted."""
    over_limit: int = 0


def claims_of(source: Source, scanned: Scanned, now_ms: int) -> Sequence[Claim] | Refusal:
    """Return what the head of a request to a source with signing keys claims of its body; or why it cannot be true."""
    found = _claims_or_words(source, scanned, now_ms)
    return unauthorized(f"signature: {found}") if isinstance(found, str) else found


def signed_family(source: Source, scanned: Scanned, body: Buffer, now_ms: int) -> str | None:
    """Return by which family of headers a whole request is rightly signed, "" by a scheme's only one; else None."""
    claims = _claims_or_words(source, scanned, now_ms)
    claim = None if isinstance(claims, str) else verify(claims, body, source.signing_keys)
    return None if claim is None else claim.family


def _claims_or_words(source: Source, scanned: Scanned, now_ms: int) -> Sequence[Claim] | str:
    scheme = SCHEMES[source.signature]
    claims = scheme.read(values_of(scanned, scheme.headers))
    if isinstance(claims, str):
        return f"{claims}; this source expects {scheme.name}"
    repeated = [name for name, value in values_of(scanned, header_names(source)).items() if value is None]
    if repeated:
        return f"`{repeated[0].decode()}` came twice"
    if not claims:
        return claims
    tolerance = source.signature_tolerance_seconds
    return fresh(claims, now_ms / 1000, tolerance) or why_stale(claims, now_ms / 1000, tolerance)


def unknown_limits(limits: IntakeLimits, in_flight_bytes_max: int) -> IntakeLimits:
    """Return the limits of a body that is read to find the key in it."""
    return replace(
        limits,
        body_bytes_max=min(UNKNOWN_BODY_BYTES_MAX, in_flight_bytes_max // UNKNOWN_SHARE),
        decoded_bytes_max=UNKNOWN_BODY_BYTES_MAX,
    )


def stricter(limits: IntakeLimits, other: IntakeLimits) -> IntakeLimits:
    """Return the limits, each body no larger than the other ones allow."""
    return replace(
        limits,
        body_bytes_max=min(limits.body_bytes_max, other.body_bytes_max),
        decoded_bytes_max=min(limits.decoded_bytes_max, other.decoded_bytes_max),
    )


def limits_of(source: Source, limits: IntakeLimits) -> IntakeLimits:
    """Return the limits of a source's bodies: its own, where it has some, instead of these."""
    if not (source.body_bytes_max or source.decoded_bytes_max):
        return limits
    return replace(
        limits,
        body_bytes_max=source.body_bytes_max or limits.body_bytes_max,
        decoded_bytes_max=source.decoded_bytes_max or limits.decoded_bytes_max,
    )


def read(
    source: Source,
    head: DeliveryHead,
    body: Buffer,
    now_ms: int,
    limits: IntakeLimits,
    *,
    claims: Sequence[Claim] = (),
) -> Deliveries | Handshake | Refusal:
    """Return the delivery in a body, or what its vendor asks, or the refusal. Any bytes give one of these.

    `claims`: of the head, for a source with signing keys; one of them has to be true.
    """
    family = ""
    if (secret := secret_of(source)) is not None:
        ready = _opened_by_secret(source, head, secret, body, limits)
        return _delivery(source, head, ready, now_ms, limits) if isinstance(ready, Body) else ready
    if source.signing_keys:
        claim = verify(claims, body, source.signing_keys)
        if claim is None:
            return unauthorized(_why_not_true(source))
        family = claim.family
    parsed = opened(head, body, limits)
    return parsed if isinstance(parsed, Refusal) else read_opened(source, head, parsed, now_ms, limits, family=family)


def _opened_by_secret(
    source: Source, head: DeliveryHead, secret: SecretMember, body: Buffer, limits: IntakeLimits
) -> Body | Handshake | Refusal:
    """Return what is in a body whose items have the secret, without it; a stranger hears nothing of what is wrong."""
    if (asked := on_query(source, head.query, body)) is not None:
        return asked
    parsed = opened(head, body, limits)
    if isinstance(parsed, Refusal):
        return unauthorized(f"signature: no `{secret.name}` was found: {parsed.message}")
    return proven(parsed, secret, source.signing_keys)


def opened(head: DeliveryHead, body: Buffer, limits: IntakeLimits) -> Body | Refusal:
    """Return what is in a body, decoded and parsed, whoever sent it; or the refusal."""
    decoded = decode(body, head.scanned.content_encoding, limits.decoded_bytes_max)
    if isinstance(decoded, Refusal):
        return decoded
    parsed = parse(decoded, limits.json_containers_max)
    if isinstance(parsed, Refusal) and parsed.code == "invalid_json" and head.scanned.form and head.route is None:
        return _form_refusal(parsed)
    return parsed


def read_opened(
    source: Source, head: DeliveryHead, parsed: Body, now_ms: int, limits: IntakeLimits, *, family: str = ""
) -> Deliveries | Handshake | Refusal:
    """Do the rest of `read`, for a body that is opened. `family`: that of the headers by which it was verified."""
    if source.signing_keys and (asked := on_post(source, parsed.value)) is not None:
        return asked
    ready = parsed if head.route is None else prepared(parsed, head.route.type)
    return ready if isinstance(ready, Refusal) else _delivery(source, head, ready, now_ms, limits, family=family)


def _delivery(
    source: Source, head: DeliveryHead, body: Body, now_ms: int, limits: IntakeLimits, *, family: str = ""
) -> Deliveries | Refusal:
    return normalise.delivery(
        source,
        head.scanned,
        body,
        received_at_ms=now_ms,
        remote_addr=head.remote_addr,
        batch_events_max=limits.batch_events_max,
        family=family,
    )


def _why_not_true(source: Source) -> str:
    count = len(source.signing_keys)
    which = "this source's secret" if count == 1 else f"any of this source's {count} secrets"
    return f"signature: does not match the body under {which} ({source.signature})"


def _form_refusal(refusal: Refusal) -> Refusal:
    """Return the refusal of a body labelled as a form: it may be one, or bad JSON from a client that labels all so."""
    return refuse("unsupported_media_type", f"{refusal.message}; {_FORM_ADVICE}")


def admit(deliveries: Deliveries, source: Source, limiter: Gcra, deferring: bool, now_ns: int) -> Admission:
    """Charge the limiter for one delivery. While its source is `deferring`, the tokens go to the deferred events.

    `source` is the one that the limiter is configured by, so that no delivery meets one's rate and another's mode.
    """
    count = deliveries.count
    rest = EventStatus.DROPPED if source.over_limit == "drop" else EventStatus.DEFERRED
    waits = deferring and source.rate_limit_events_per_second > 0 and source.over_limit != "observe"
    admitted = 0 if waits else limiter.admit(count, now_ns)
    over = count - admitted
    if source.over_limit == "observe":
        return Admission(deliveries, count, rest, over)
    if rest is EventStatus.DROPPED and not admitted:
        deliveries = replace(deliveries, bodies=[b""])
    return Admission(deliveries, admitted, rest, over)


def answer_body(source: Source, admission: Admission, delivery_id: str) -> bytes:
    """Return the body of the 200 for one delivery. Its four counts add up to the items sent."""
    rejections = admission.deliveries.rejected[0]
    left = admission.deliveries.count - admission.admitted
    dropped = left if admission.rest is EventStatus.DROPPED else 0
    rejected = orjson.dumps([_rejection(each) for each in rejections]) if rejections else b"[]"
    counts = b'"accepted":%d,"deferred":%d,"dropped":%d,"rejected":%b' % (
        admission.admitted,
        left - dropped,
        dropped,
        rejected,
    )
    before, after = _prefix_and_suffix(source, counts)
    return before + delivery_id.encode() + after


def answer_bodies(source: Source, delivery_ids: Sequence[str]) -> list[bytes]:
    """Return the same for deliveries of one event each, all of which were admitted."""
    before, after = _prefix_and_suffix(source, b'"accepted":1,"deferred":0,"dropped":0,"rejected":[]')
    return [before + identity.encode() + after for identity in delivery_ids]


def _prefix_and_suffix(source: Source, counts: bytes) -> tuple[bytes, bytes]:
    """Return what precedes and follows the delivery's id."""
    success = b'","success":true}' if source.type == "segment" else b'"}'
    return b'{"status":"accepted",%b,"delivery":"' % counts, success


def _rejection(entry: Rejection) -> dict[str, object]:
    index, code, message = entry
    return {"index": index, "code": code, "message": message}
