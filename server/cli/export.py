"""`export`: events into a file, the oldest first, with a manifest that says what is in it."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from server.base.clock import wall_ms
from server.base.json_text import json_text
from server.cli.events import check_reached, described
from server.cli.exit_codes import INTERRUPTED, MISTAKE
from server.cli.export_file import STDOUT, Hashed, check_apart, check_free, manifest_of, manifest_path, unfinished
from server.cli.export_formats import FORMATS, RowWriter
from server.cli.export_manifest import MANIFEST_VERSION
from server.cli.failure import CommandFailed, say
from server.cli.interrupt import Interruptible
from server.cli.known_source import check_known
from server.cli.output import print_record
from server.cli.progress import Progress
from server.cli.reading import open_store
from server.intake.events import each_event, rfc3339
from server.observe.exports import export_rows
from storage.frozen import frozen
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.statuses import PENDING_STATUSES, outcome_of


def run(
    config: Path,
    *,
    file: Path,
    shape: str | None,
    manifest: Path | None,
    source: str | None,
    since: str | None,
    until: str | None,
    outcome: str | None,
    event_type: str | None,
    id_prefix: str | None,
    event_id: str | None,
    provider_id: str | None,
    where: Sequence[str],
    after: int | None,
    before: int | None,
    finished: bool,
) -> int:
    """Export what the options describe. Exit 0: all of it; 130: up to where Ctrl-C was pressed."""
    asked: dict[str, Any] = {
        "source": source,
        "outcome": outcome,
        "event_type": event_type,
        "id_prefix": id_prefix,
        "event_id": event_id,
        "provider_id": provider_id,
        "where": where,
    }
    query = described(oldest_first=True, since=since, until=until, after=after, before=before, **asked)
    shape = shape or _ending(file)
    beside = manifest or (None if file == STDOUT else manifest_path(file))
    check_free(*(() if file == STDOUT else (file,)), *filter(None, [manifest]))
    check_apart(file, manifest)
    with open_store(config) as store:
        reader = Reader(store)
        check_known(config, source, reader)
        check_reached(reader, query.after)
        beside_it = manifest_of(file, beside, is_named=manifest is not None)
        with Interruptible() as interrupt, beside_it as write_manifest, unfinished(file) as opened:
            stream = Hashed(opened)
            writer = FORMATS[shape].writer(stream)
            done = _export(reader, _until_now(reader, query, finished=finished), writer, interrupt)
            writer.close()
            through = _through(reader, query, done)
            said = _manifest(query, asked, done, stream)
            said |= {"through": through, "format": shape, "store": store.identity.hex()}
            write_manifest(said)
    _tell(said, beside, is_printed=file == STDOUT)
    if not done.complete:
        say(f"stopped: to go on, say --after {through}")
        return INTERRUPTED
    return 0


def _ending(file: Path) -> str:
    """Return the format that the end of the file's name says. Raises CommandFailed."""
    found = [shape for shape in FORMATS if file.name.endswith(f".{shape}")]
    if not found:
        raise CommandFailed(MISTAKE, f"--format is missing, and {file} does not end with .{', .'.join(FORMATS)}")
    return found[0]


def _tell(said: dict[str, Any], beside: Path | None, *, is_printed: bool) -> None:
    """Print the manifest: on stderr where the events are on stdout, unless it has a file."""
    if not is_printed:
        print_record(said)
    elif beside is None:
        sys.stderr.write(json_text(said).decode() + "\n")


def _until_now(reader: Reader, query: EventQuery, *, finished: bool) -> EventQuery:
    """Fix the last number: what comes while the export goes on is not in it. `finished`: nor is the oldest pending
    event, or what came behind it."""
    end = _oldest_pending(reader, query) if finished else reader.end()
    return replace(query, before=end if query.before is None else min(query.before, end))


def _oldest_pending(reader: Reader, query: EventQuery) -> int:
    """Return the number of the first event without an outcome, of the source that is asked for; else the end."""
    end = reader.end()
    known = [each.oldest for name, each in reader.totals().items() if query.source_id in (None, name)]
    after = max(query.after, min(known, default=1) - 1)
    pending = EventQuery(
        query.source_id, statuses=PENDING_STATUSES, after=after, before=end, oldest_first=True, limit=1
    )
    return _first(reader, pending) or end


def _first(reader: Reader, query: EventQuery) -> int | None:
    """Return the number of the first event of a query; None if there is none."""
    following: EventQuery | None = query
    while following is not None:
        page = reader.select(following)
        if page.records:
            return page.records[0].number
        following = page.following
    return None


@frozen
class Exported:
    """What was written."""

    first: int | None
    last: int | None
    before: int
    """Every smaller number was looked at."""
    complete: bool
    counts: dict[str, Counter[str]]
    """By source: how many events have each outcome."""


def _export(reader: Reader, query: EventQuery, writer: RowWriter, interrupt: Interruptible) -> Exported:
    counts: dict[str, Counter[str]] = {}
    numbers: list[int] = []
    assert query.before is not None
    start, following = query.after, query
    with Progress("events looked through", max(query.before - 1 - start, 0)) as progress:
        more = True
        while more and not interrupt.is_interrupted:
            page = reader.select(following, build=each_event, bodies=True)
            writer.write(export_rows(page.records))
            for record in page.records:
                counts.setdefault(record.numbered.deliveries.source_id, Counter())[outcome_of(record.status).label] += 1
            if page.records:
                numbers = [*(numbers[:1] or [page.records[0].number]), page.records[-1].number]
            more = page.following is not None
            if page.following is not None:
                following = page.following
                progress.update(following.after - start)
    first, last = numbers or (None, None)
    return Exported(first, last, following.after + 1 if more else query.before, not more, counts)


def _through(reader: Reader, query: EventQuery, done: Exported) -> int:
    """Return the number that the next export goes on after: no event up to it is left out because it came too late."""
    through = max(query.after, done.before - 1)
    if query.until_ms is None:
        return through
    late = EventQuery(
        query.source_id, query.until_ms, after=query.after, before=done.before, oldest_first=True, limit=1
    )
    first = _first(reader, late)
    return through if first is None else first - 1


def _manifest(query: EventQuery, asked: Mapping[str, Any], done: Exported, stream: Hashed) -> dict[str, Any]:
    words = {name: value for name, value in asked.items() if value}
    for name, at_ms in (("since", query.since_ms), ("until", query.until_ms)):
        if at_ms is not None:
            words[name] = rfc3339(at_ms)  # as it was on this day
    return {
        "version": MANIFEST_VERSION,
        "made_at": rfc3339(wall_ms()),
        "complete": done.complete,
        "after": query.after,
        "before": done.before,
        "asked": words,
        "count": sum(sum(each.values()) for each in done.counts.values()),
        "first_number": done.first,
        "last_number": done.last,
        "bytes": stream.size,
        "sha256": stream.sha256,
        "totals": {source_id: dict(sorted(found.items())) for source_id, found in sorted(done.counts.items())},
    }
