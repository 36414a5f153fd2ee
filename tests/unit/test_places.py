"""Where ids and types are looked for: in headers of the family that was verified, and in the body."""

import pytest

from server.base.source import FieldPath, Source, field_path
from server.intake.headers import scan
from server.intake.places import BAD, first, header_names, places_of
from server.intake.schemes import SCHEMES


def paths(*texts: str) -> tuple[FieldPath, ...]:
    return tuple(filter(None, map(field_path, texts)))


def standard(*ids: str) -> Source:
    """A source of Standard Webhooks, with ids in these places."""
    return Source("s", "webhook", (), (b"k",), (b"k",), "standard-webhooks", event_id_from=paths(*ids))


@pytest.mark.parametrize("configured", ["header.webhook-id", "header.svix-id"])
@pytest.mark.parametrize(("family", "event_id"), [("webhook-", "signed"), ("svix-", "beside")])
def test_only_the_verified_family_is_read(configured: str, family: str, event_id: str) -> None:
    """By whichever family's name an id is configured, the verified one has it: another's was signed by nobody."""
    source, scanned = standard(configured), scan([(b"webhook-id", b"signed"), (b"svix-id", b"beside")])
    found = first(places_of(source, scanned, family).ids, {})
    assert found is not None
    place, value = found
    assert (place.text, value, place.is_unsigned) == (f"header.{family}id", event_id, False)
    assert header_names(source) == {b"webhook-id", b"svix-id"}


def test_headers_outside_of_families_stay() -> None:
    """A header of no family is read by its own name, and is unsigned."""
    source, scanned = standard("header.x-id"), scan([(b"x-id", b"1"), (b"webhook-x-id", b"2")])
    [place] = places_of(source, scanned, "webhook-").ids
    assert (place.text, place.value, place.is_unsigned) == ("header.x-id", "1", True)


@pytest.mark.parametrize("value", [b"", b" \t", b"\xff", b"caf\xe9"])
def test_a_header_that_is_no_text_is_bad(value: bytes) -> None:
    """An empty header, or one that is not UTF-8, is there and is no id: the paths after it do not count."""
    source = standard("header.x-id", "body.id")
    found = first(places_of(source, scan([(b"x-id", value)]), "webhook-").ids, {"id": "7"})
    assert found is not None
    assert found[1] is BAD


@pytest.mark.parametrize("name", SCHEMES)
def test_names_of_headers_are_of_their_families(name: str) -> None:
    """No family's name begins with another's, so that each header is of one at most."""
    families = SCHEMES[name].families
    assert not [(one, other) for one in families for other in families if one != other and one.startswith(other)]
