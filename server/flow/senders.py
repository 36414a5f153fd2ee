"""Who sends: the source whose token a request has."""

from dataclasses import dataclass

from server.base.source import Source
from server.flow.engine import Engine
from server.flow.source_state import SourceState
from server.intake.auth import token_matches, token_of

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

    def source(self, source_id: str) -> Source | None:
        """Return the source that is configured by this id."""
        state = self._engine.state(source_id)
        return None if state is None else state.source

    def authenticate(self, source_id: str, authorization: bytes | None) -> Authenticated | None:
        """Return the source if the token is one of its own, else None. Valid tokens are cached until a reload; not
        what strangers send beside a signature."""
        if self._reload_count != self._engine.reload_count or len(self._authenticated) >= AUTHENTICATED_MAX:
            self._reload_count = self._engine.reload_count
            self._authenticated.clear()
            sources = [state.source for state in self._engine.states if state.source is not None]
            self._tokens_max = max([len(source.token_digests) for source in sources], default=0)
        key = (source_id, authorization)
        found = self._authenticated.get(key)
        if found is None:
            found = self._compare_token(source_id, authorization)
            if found is not None and (found.source.token_digests or authorization is None):
                self._authenticated[key] = found
        return found

    def _compare_token(self, source_id: str, authorization: bytes | None) -> Authenticated | None:
        state = self._engine.state(source_id)
        source = state.source if state is not None else None
        digests = source.token_digests if source is not None else ()
        matches = token_matches(token_of(authorization), digests, self._tokens_max)
        if state is None or source is None:
            return None
        goes_by_signature = not digests and bool(source.signing_keys)
        return Authenticated(state, source) if matches or goes_by_signature else None
