"""Whether a request is signed as its source expects: what its head claims, and whether that is true of its body."""

from collections.abc import Sequence

from server.base.refusal import Refusal, unauthorized
from server.base.source import Source
from server.intake.claims import Claim, fresh, verify, why_stale
from server.intake.decode import Buffer
from server.intake.headers import Scanned, values_of
from server.intake.places import header_names
from server.intake.schemes import SCHEMES


def claims_of(source: Source, scanned: Scanned, now_ms: int) -> Sequence[Claim] | Refusal:
    """Return what the head of a request to a source with signing keys claims of its body; or why it cannot be true."""
    found = _claims_or_words(source, scanned, now_ms)
    return unauthorized(f"signature: {found}") if isinstance(found, str) else found


def true_claim(source: Source, claims: Sequence[Claim], body: Buffer) -> Claim | Refusal:
    """Return which of the claims of a head is true of the body as received; or the refusal."""
    found = verify(claims, body, source.signing_keys)
    return unauthorized(f"signature: {_why_not_true(source)}") if found is None else found


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


def _why_not_true(source: Source) -> str:
    count = len(source.signing_keys)
    which = "this source's secret" if count == 1 else f"any of this source's {count} secrets"
    return f"does not match the body under {which} ({source.signature})"
