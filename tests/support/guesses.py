"""A gate before sources that differ in what a guess must not tell: whether they exist, how many tokens they have."""

import hashlib
from types import SimpleNamespace
from typing import Any, cast

from server.base.source import Source, SourceType
from server.config.settings import LimitsConfig
from server.flow.source_state import SourceState
from server.http.gate import Gate
from storage.statuses import Totals

SOURCES = {"one": ["another"], "many": ["a", "b", "c", "d"], "signed": ["another"], "removed": [], "app": ["other"]}


def make_gate() -> Gate:
    """A gate before sources of one and of many tokens, a signed one, and one that was taken out."""
    states = {}
    for name, tokens in SOURCES.items():
        states[name] = SourceState(name, Totals())
        secrets = (b"secret",) if name == "signed" else ()
        digests = tuple(hashlib.sha256(each.encode()).digest() for each in tokens)
        kind: SourceType = "segment" if name == "app" else "webhook"
        states[name].configure(Source(name, kind, digests, signing_secrets=secrets))
    states["removed"].source = None
    engine = SimpleNamespace(reload_count=1, state=states.get, states=list(states.values()))
    health = SimpleNamespace(refusal=lambda: None)
    return Gate(
        cast(Any, engine),
        cast(Any, None),
        cast(Any, health),
        limits=LimitsConfig(),
        backlog_events_max=0,
        clock=cast(Any, None),
    )
