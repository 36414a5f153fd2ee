"""The vendors' own packages for Node beside ours: what one signs the other accepts, and where theirs are sloppy ours is
not.
"""

import json
import time
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.intake.claims import Message, verify
from server.intake.headers import scan, values_of
from server.intake.schemes import SCHEMES
from tests.support.node import PINNED, Answering

pytestmark = pytest.mark.xdist_group("node")  # the packages are installed once

Headers = Mapping[str, str]
SECRET = "c2VjcmV0"
BODY = '{"type":"made"}'
PACKAGES = {"octokit": "github", "shopify": "shopify", "standardwebhooks": "standard-webhooks"}
"""And their schemes."""


@pytest.fixture(scope="module")
def vendors() -> Iterator[Answering]:
    with Answering("sign.mjs") as answering:
        yield answering


def is_right(package: str, headers: Headers, body: str = BODY) -> bool:
    """Whether ours accepts it."""
    scheme = SCHEMES[PACKAGES[package]]
    lines = [(key.encode(), value.encode()) for key, value in headers.items()]
    claims = scheme.read(values_of(scan(lines), scheme.headers))
    return not isinstance(claims, str) and verify(claims, body.encode(), [scheme.key(SECRET.encode())]) is not None


@pytest.mark.parametrize("package", PACKAGES)
@given(text=st.text(max_size=100))
def test_each_accepts_what_the_other_signs(vendors: Answering, package: str, text: str) -> None:
    """Whatever the body, the vendor's signature is right for us and ours for the vendor, and for that body alone."""
    scheme, body = SCHEMES[PACKAGES[package]], "{}" + text
    theirs = vendors.ask([package, SECRET, body])
    assert is_right(package, theirs, body)
    assert not is_right(package, theirs, body + " ")
    for sent in (body, BODY):
        key = scheme.key(SECRET.encode())
        ours = scheme.sign(Message(sent.encode(), key, "msg_1", "made", int(time.time())))
        is_json = package != "standardwebhooks" or sent == BODY  # it parses what it verified
        assert not is_json or vendors.ask([package, SECRET, sent, ours]) is True
        assert vendors.ask([package, SECRET, sent + " ", ours]) is not True


def test_words_after_a_time_are_refused(vendors: Answering) -> None:
    """Ours refuses a timestamp of which the package reads only the beginning."""
    right = vendors.ask(["standardwebhooks", SECRET, BODY])
    changed = {**right, "webhook-timestamp": f"{right['webhook-timestamp']}abc"}
    assert vendors.ask(["standardwebhooks", SECRET, BODY, changed]) is True
    assert is_right("standardwebhooks", right)
    assert not is_right("standardwebhooks", changed)


def test_pins_name_hashes_and_no_registry() -> None:
    """The lock file says what each package is, and not from where it comes: that is the machine's own matter."""
    packages = json.loads((PINNED / "package-lock.json").read_text())["packages"]
    pinned = [each for name, each in packages.items() if name]
    assert all(each["integrity"].startswith("sha512-") and "resolved" not in each for each in pinned)
    assert "omit-lockfile-registry-resolved=true" in (PINNED / ".npmrc").read_text()
