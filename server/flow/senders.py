"""Who sends: the source whose token a request has."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from server.base.source import Source
from server.flow.engine import Engine
from server.flow.source_state import SourceState
from server.intake.auth import digest_of, token_matches, token_of, write_key_of

AUTHENTICATED_MAX = 4096
"""Valid tokens cached, by source and Authorization header: more than anybody has."""


@dataclass(slots=True, eq=False)
class Authenticated:
    """A sender with a valid token, or of a source that has none and goes by its signature: its source."""

    state: SourceState
    source: Source


class Senders:
    """Compares tokens. Its cache of valid ones lives until a reload."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reload_count = -1
        self._authenticated: dict[tuple[str, bytes | None], Authenticated] = {}
        self._tokens_max = 0
        """Of any source: a token is compared as often for every source, known or not."""
        self._origins: Collection[bytes] = ()
        self._by_key: dict[bytes, Authenticated] = {}
        """Of type segment, by the digest of a token that no other of them has."""

    def source(self, source_id: str) -> Source | None:
        """Return the source that is configured by this id."""
        state = self._engine.state(source_id)
        return None if state is None else state.source

    def authenticate(self, source_id: str, authorization: bytes | None) -> Authenticated | None:
        """Return the source if the token is one of its own, else None. Valid tokens are cached until a reload; not
        what strangers send beside a signature.

        `source_id`: "" at the root, where the token finds a source of type segment.
        """
        if self._reload_count != self._engine.reload_count or len(self._authenticated) >= AUTHENTICATED_MAX:
            self._begin_anew()
        key = (source_id, authorization)
        found = self._authenticated.get(key)
        if found is None:
            if source_id:
                found = self._compare_token(source_id, authorization)
            else:
                found = self._by_key.get(digest_of(write_key_of(authorization) or token_of(authorization)))
            if found is not None and (found.source.token_digests or authorization is None):
                self._authenticated[key] = found
        return found

    def origins(self, source_id: str) -> Collection[bytes]:
        """Return the origins whose pages may send to a source; at the root, to any."""
        if self._reload_count != self._engine.reload_count:
            self._begin_anew()
        if not source_id:
            return self._origins
        source = self.source(source_id)
        return () if source is None else source.cors_origins

    def _begin_anew(self) -> None:
        self._reload_count = self._engine.reload_count
        self._authenticated.clear()
        sources = [state.source for state in self._engine.states if state.source is not None]
        self._tokens_max = max([len(source.token_digests) for source in sources], default=0)
        self._origins = frozenset(origin for source in sources for origin in source.cors_origins)
        self._by_key = self._found_by_key()

    def _compare_token(self, source_id: str, authorization: bytes | None) -> Authenticated | None:
        state = self._engine.state(source_id)
        source = state.source if state is not None else None
        digests = source.token_digests if source is not None else ()
        key = write_key_of(authorization)
        matches = token_matches(key or token_of(authorization), digests, self._tokens_max)
        if state is None or source is None:
            return None
        matches &= key is None or source.type == "segment"
        goes_by_signature = not digests and bool(source.signing_keys)
        return Authenticated(state, source) if matches or goes_by_signature else None

    def _found_by_key(self) -> dict[bytes, Authenticated]:
        states = self._engine.states
        known = {state.id: Authenticated(state, state.source) for state in states if state.source is not None}
        holders = key_holders(each.source for each in known.values())
        return {digest: known[source_id] for digest, (source_id, *others) in holders.items() if not others}


def key_holders(sources: Iterable[Source]) -> Mapping[bytes, Sequence[str]]:
    """Return the ids of the sources of type segment that have a token, by its digest."""
    found: dict[bytes, list[str]] = {}
    for source in sources:
        for digest in dict.fromkeys(source.token_digests if source.type == "segment" else ()):
            found.setdefault(digest, []).append(source.id)
    return found
