"""Who is authenticated, and what of it is remembered."""

import hashlib
from types import SimpleNamespace
from typing import Any, cast

from server.base.source import Source
from server.flow.senders import AUTHENTICATED_MAX, Senders
from server.flow.source_state import SourceState
from storage.statuses import Totals


def make_senders(*sources: Source) -> Senders:
    states = {source.id: SourceState(source.id, Totals()) for source in sources}
    for source in sources:
        states[source.id].configure(source)
    return Senders(cast(Any, SimpleNamespace(reload_count=1, state=states.get, states=list(states.values()))))


TOKEN = Source("token", "webhook", (hashlib.sha256(b"right").digest(),))
SIGNED = Source("signed", "webhook", (), (b"k",), (b"k",))


def test_strangers_headers_are_not_remembered() -> None:
    """Where a signature stands for the token, any Authorization header gets as far as that, and none is kept: there is
    no end to them, and they would push out the tokens."""
    senders = make_senders(TOKEN, SIGNED)
    right = senders.authenticate("token", b"Bearer right")
    for count in range(AUTHENTICATED_MAX + 1):
        found = senders.authenticate("signed", b"Bearer %d" % count)
        assert found is not None
        assert found.source is SIGNED
    assert senders.authenticate("token", b"Bearer right") is right


def test_senders_without_a_header_are_remembered() -> None:
    """Who signs and sends no Authorization header is found at once the second time."""
    senders = make_senders(SIGNED)
    assert senders.authenticate("signed", None) is senders.authenticate("signed", None)
    assert senders.authenticate("other", None) is None
