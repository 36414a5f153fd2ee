"""`source list`: the sources of a configuration."""

from collections.abc import Iterator
from pathlib import Path

from server.base.source import Source
from server.cli.failure import say
from server.cli.output import Column, Row, print_rows
from server.cli.source_changes import judged


def _value(source: Source) -> dict[str, object]:
    return {
        "source": source.id,
        "type": source.type,
        "signature": source.signature if source.signing_keys else None,
        "tokens": len(source.token_digests),
        "signing_secrets": len(source.signing_keys),
        "processor": source.processor or None,
        "rate_limit_events_per_second": source.rate_limit_events_per_second,
        "over_limit": source.over_limit,
        "paused": source.paused,
    }


def _shown(row: Row) -> Iterator[str]:
    if row["tokens"]:
        yield "token"
    if row["signature"]:
        yield f"{row['signature']} signature"


def _limit(row: Row) -> str:
    rate = row["rate_limit_events_per_second"]
    return f"{rate:g}/s, {row['over_limit']}" if rate else "none"


COLUMNS = (
    Column("ID", "source"),
    Column("TYPE", "type"),
    Column("SENDERS SHOW", lambda row: ", ".join(_shown(row))),
    Column("TOKENS", "tokens"),
    Column("SECRETS", "signing_secrets"),
    Column("PROCESSOR", lambda row: row["processor"] or "none"),
    Column("LIMIT", _limit),
    Column("", lambda row: "paused" if row["paused"] else ""),
)


def run_list(config: Path, shape: str | None) -> int:
    if not print_rows(map(_value, judged(config).sources.values()), COLUMNS, shape):
        say("there are no sources; `tidegate source add` makes one")
    return 0
