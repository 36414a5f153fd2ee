"""The overview of a server as lines of text, for `status` and `top`. Data in, lines out: no I/O."""

import textwrap
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from server.base.printable import printable
from server.cli.output import BOLD, DIM, GAP, GREEN, PLAIN, RED, YELLOW
from server.cli.overview import Overview, oldest, source_rates, total_rates, writes
from server.cli.quantities import duration, per_second
from server.cli.scrape import COUNTED, Failures, Scrape, SourceScrape, StoreScrape, Trouble
from server.config.capacity import size
from server.intake.events import rfc3339
from storage.frozen import frozen

Piece = tuple[str, str]
"""Text, and its style."""

Line = tuple[Piece, ...]

ELLIPSIS = "…"

STATE_CHARACTERS_MIN = 28
"""What the last column keeps while others are left out for want of room."""

TABLE_LINES = 2
"""Of the table of sources, beside its rows: a blank one, and its head."""

TROUBLE_LINES_MAX = 3
"""A longer trouble is cut where the height is limited."""

BASES = {"measured": "at the rate of the last day", "configured": "at the sum of the rate limits"}


def lines(
    overview: Overview,
    troubles: Sequence[Trouble],
    *,
    width: int | None = None,
    height: int | None = None,
    hint: str = "",
) -> list[Line]:
    """Return the lines, none wider than `width`, not more than `height`; None: as large as they need to be."""
    now = overview.now
    found = [_head(overview, hint), *_problem(overview, width)]
    if now is not None:
        found += _summary(overview, now)
        left = None if height is None else height - len(found) - TABLE_LINES - bool(troubles)
        told = _troubles(troubles, width, None if left is None else max(1, left // 2))
        found += [(), *told] if told else []
        rows = None if left is None else left - len(told)
        found += [(), *_table(overview, now.sources, width, rows)] if now.sources else [(), _plain("no sources")]
    shown = found if height is None else found[: max(1, height)]
    return shown if width is None else [_cut(line, width) for line in shown]


def _plain(text: str) -> Line:
    return ((text, PLAIN),)


def _head(overview: Overview, hint: str) -> Line:
    now = overview.now
    state = ("asking", DIM) if now is None else ("ready", GREEN) if now.ready else ("not ready", RED)
    if overview.problem or (now is not None and now.ready is None):
        state = ("no answer", RED)
    at = "" if now is None else f"{rfc3339(now.at_ms)[:19]}Z"
    version = "" if now is None or not now.version else f" {printable(now.version)}"
    said = GAP.join(filter(None, [at, hint]))
    return ((f"tidegate{version}", BOLD), (GAP, PLAIN), state, (f"{GAP}{said}" if said else "", DIM))


def _problem(overview: Overview, width: int | None) -> Iterator[Line]:
    if overview.problem:
        yield from (((text, RED),) for text in _wrapped(printable(overview.problem), width))


def _summary(overview: Overview, now: Scrape) -> Iterator[Line]:
    if now.ready is not None:
        rates = total_rates(overview)
        yield _labelled("events", GAP.join(f"{_name(name)} {per_second(rates[name])}/s" for name in COUNTED))
    yield _labelled("pending", _pending(now.sources))
    if now.journal is not None and now.commits is not None:
        journal, commit = (duration(seconds) for seconds in writes(overview))
        yield _labelled("disk", f"journal {journal}, commit {commit} a write")
    if now.store is not None:
        yield _labelled("store", _store(now.store))


def _name(counter: str) -> str:
    return "in" if counter == "received" else counter


def _labelled(label: str, text: str) -> Line:
    return ((f"{label:<8}", DIM), (text, PLAIN))


def _pending(sources: Sequence[SourceScrape]) -> str:
    pending = sum(each.pending for each in sources)
    words = [f"{pending:,}" + (f", the oldest for {duration(oldest(sources))}" if pending else "")]
    deferred, dead = sum(each.deferred for each in sources), sum(each.dead for each in sources)
    words += [f"{deferred:,} deferred"] * bool(deferred) + [f"{dead:,} dead"]
    return "; ".join(words)


def _store(store: StoreScrape) -> str:
    used = f"{size(store.used_bytes)} of {size(store.map_bytes)}"
    if store.basis is None:
        return f"{used}; when it is full is not known yet"
    if store.days_left is None:
        return f"{used}; never full {BASES[store.basis]}"
    return f"{used}; full in {duration(store.days_left * 86400)} {BASES[store.basis]}"


def _troubles(troubles: Sequence[Trouble], width: int | None, rows: int | None) -> list[Line]:
    found: list[Line] = []
    for at, trouble in enumerate(troubles):
        told = _wrapped(printable(f"{trouble.name}: {trouble.message}"), width)
        if rows is not None:
            room = rows - len(found) - (at < len(troubles) - 1)
            if room < 1:
                return [*found, ((f"{len(troubles) - at:,} more: tidegate status", YELLOW),)]
            told = _shortened(told, min(room, TROUBLE_LINES_MAX))
        found += [((text, RED if trouble.keeps_out else YELLOW),) for text in told]
    return found


def _shortened(texts: list[str], count: int) -> list[str]:
    return texts if len(texts) <= count else [*texts[: count - 1], f"{texts[count - 1]} {ELLIPSIS}"]


def _wrapped(text: str, width: int | None) -> list[str]:
    return [text] if width is None else textwrap.wrap(text, max(width, 20), subsequent_indent=GAP)


# The table of sources.


@frozen
class _Row:
    source: SourceScrape
    rates: Mapping[str, float | None]
    now_ms: int


@frozen
class _Field:
    """A column. The one with the greatest rank is the first to go where there is no room."""

    title: str
    text: Callable[[_Row], str]
    rank: int = 0
    is_text: bool = False
    style: Callable[[SourceScrape], str] = lambda _: PLAIN


def _rate(counter: str) -> Callable[[_Row], str]:
    return lambda row: per_second(row.rates[counter])


def _total(counter: str) -> Callable[[_Row], str]:
    return lambda row: f"{row.source.totals[counter]:,}"


def _is_odd(source: SourceScrape) -> bool:
    return bool(source.marks) or source.failures is not None


def _state(row: _Row) -> str:
    source = row.source
    words = [*source.marks, *([] if source.processor else ["no processor"])]
    if source.failures is not None:
        words.append(_failed(source.failures, row.now_ms))
    return ", ".join(words) or "ok"


def _failed(failures: Failures, now_ms: int) -> str:
    return f"failed {failures.count:,}×, {duration(max(0, now_ms - failures.last_ms) / 1000)} ago"


FIELDS = (
    _Field("SOURCE", lambda row: row.source.id, is_text=True),
    _Field("IN/S", _rate("received")),
    _Field("REPLAY/S", _rate("replayed"), 7),
    _Field("DONE/S", _rate("processed"), 1),
    _Field("DUP/S", _rate("duplicate"), 5),
    _Field("DROP/S", _rate("dropped"), 4),
    _Field("DIED/S", _rate("dead"), 6),
    _Field("PENDING", lambda row: f"{row.source.pending:,}"),
    _Field("OLDEST", lambda row: duration(row.source.oldest_seconds) if row.source.pending else "", 1),
    _Field("DEAD", lambda row: f"{row.source.dead:,}", style=lambda source: RED if source.dead else PLAIN),
    _Field("REFUSED", lambda row: f"{sum(row.source.refused.values()):,}" if row.source.refused else "0", 2),
    _Field("LIMIT", lambda row: row.source.limit, 3, is_text=True),
    _Field("STATE", _state, is_text=True, style=lambda source: YELLOW if _is_odd(source) else PLAIN),
)

STORED = (
    FIELDS[0],
    _Field("RECEIVED", _total("received")),
    _Field("REPLAYED", _total("replayed"), 4),
    _Field("PROCESSED", _total("processed"), 1),
    _Field("DUPLICATE", _total("duplicate"), 3),
    _Field("DROPPED", _total("dropped"), 2),
    *(each for each in FIELDS if each.title in ("PENDING", "OLDEST", "DEAD")),
)
"""What the store knows without a server."""


def _table(overview: Overview, sources: Sequence[SourceScrape], width: int | None, rows: int | None) -> list[Line]:
    """Return head and rows, those that something is wrong with first."""
    now = overview.now
    assert now is not None
    rates = source_rates(overview)
    ordered = sorted(sources, key=lambda each: (not _is_odd(each) and not each.dead, each.id))
    shown = ordered if rows is None else _fitting(ordered, rows)
    cells = [_Row(each, rates[each.id], now.at_ms) for each in shown]
    fields, widths = _chosen(STORED if now.ready is None else FIELDS, cells, width)
    head = _cells([field.title for field in fields], fields, widths, lambda _: BOLD)
    found = [head, *(line for row in cells for line in _source_lines(row, fields, widths))]
    left = len(ordered) - len(shown)
    return [*found, _plain(f"{left:,} sources more: tidegate status")] if left else found


def _fitting(sources: Sequence[SourceScrape], rows: int) -> Sequence[SourceScrape]:
    """Return the first sources, so many as there is room for: one line is left for the count of others, if any."""
    ends = list(accumulate(1 + (each.failures is not None) for each in sources))
    return sources if not ends or ends[-1] <= rows else sources[: bisect_right(ends, max(0, rows - 1))]


def _source_lines(row: _Row, fields: Sequence[_Field], widths: Sequence[int]) -> Iterator[Line]:
    """Yield a source's row, and below it the last error of its processor: in a column it would be cut."""
    texts = [printable(field.text(row)) for field in fields]
    yield _cells(texts, fields, widths, lambda field: field.style(row.source))
    if row.source.failures is not None:
        yield ((f"{GAP}{printable(row.source.failures.last)}", YELLOW),)


def _chosen(fields: Sequence[_Field], rows: Sequence[_Row], width: int | None) -> tuple[list[_Field], list[int]]:
    """Return the columns that there is room for, and how wide each is."""
    most = None if width is None else max(12, width // 4)
    widths = {
        field.title: max([len(field.title), *(len(printable(field.text(row))) for row in rows)]) for field in fields
    }
    if most is not None:
        widths["SOURCE"] = min(widths["SOURCE"], most)
    kept = list(fields)
    while width is not None and _needed(kept, widths) > width:
        worst = max(kept, key=lambda field: field.rank)
        if not worst.rank:
            break
        kept.remove(worst)
    return kept, [widths[field.title] for field in kept]


def _needed(fields: Sequence[_Field], widths: Mapping[str, int]) -> int:
    last = fields[-1]
    cut = min(widths[last.title], STATE_CHARACTERS_MIN) if last.is_text else widths[last.title]
    return sum(widths[field.title] for field in fields[:-1]) + cut + len(GAP) * (len(fields) - 1)


def _cells(
    texts: Sequence[str], fields: Sequence[_Field], widths: Sequence[int], style: Callable[[_Field], str]
) -> Line:
    pieces: list[Piece] = []
    for at, (text, field, width) in enumerate(zip(texts, fields, widths, strict=True)):
        is_last = at == len(fields) - 1
        fitted = text if is_last or len(text) <= width else f"{text[: width - 1]}{ELLIPSIS}"
        padded = fitted.rjust(width) if not field.is_text else fitted if is_last else fitted.ljust(width)
        pieces += [(padded, style(field))] if is_last else [(padded, style(field)), (GAP, PLAIN)]
    return tuple(pieces)


def _cut(line: Line, width: int) -> Line:
    """Return what fits of the line."""
    if sum(len(text) for text, _ in line) <= width:
        return line
    pieces, left = list[Piece](), width - 1
    for text, style in line:
        if len(text) > left:
            return (*pieces, (f"{text[:left]}{ELLIPSIS}", style))
        pieces.append((text, style))
        left -= len(text)
    return tuple(pieces)
