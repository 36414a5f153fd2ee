"""Is a figure flat? The line that fits its second half best, and how far that rises, beside what it may.

The first half is for what fills up once: caches, the index, what the allocator keeps, a store on its way to the size
that retention lets it have. What leaks goes on rising, so half of the time shows it as well as all of it.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Series = Sequence[float]

BLOCKS = 4
"""Of the second half, each with one tooth of the saw at least."""


@dataclass(frozen=True, slots=True)
class Limit:
    """By how much a figure may rise over the second half, and why so much."""

    words: str
    share: float = 0.0
    """Of its median in that half."""
    count: float = 0.0
    """Or this many, whatever its size."""
    troughs: bool = False
    """It goes up and down like a saw: what may not rise is its least in each of BLOCKS."""

    def allowed(self, median: float) -> float:
        return max(self.share * median, self.count)


LIMITS: Mapping[str, Limit] = {
    # What garbage there is in cycles is collected every minute: a saw. The allocator gives back whole arenas of
    # 256 KiB, and the index is merged in steps: 3 % is about 3 MB of 100.
    "memory_mb": Limit("RssAnon, MB", share=0.03, troughs=True),
    # Some connections are open when a sample is taken. A descriptor lost in each reload would be over a hundred.
    "descriptors": Limit("descriptors", count=4),
    "threads": Limit("threads", count=1),
    # It scatters by more from window to window; the slope of over a hundred windows scatters by a tenth of that.
    "p99_ms": Limit("p99 of the load, ms", share=0.25, count=1.0),
    # Reusable pages come in bulk, when retention has removed a block of the log.
    "store_mb": Limit("store on disk, MB", share=0.05),
}
"""By the name of a series."""


@dataclass(frozen=True, slots=True)
class Trend:
    """What became of one series."""

    first: float
    """Median of the second quarter."""
    last: float
    """Median of the last."""
    rise: float
    """Of the line that fits best, over the second half."""
    allowed: float | None
    """None if it is not judged."""

    @property
    def flat(self) -> bool:
        return self.allowed is None or self.rise <= self.allowed


def trend(name: str, times: Series, values: Series, *, judged: bool = True) -> Trend:
    """Return what became of a series, by its LIMITS."""
    half, quarter = len(values) // 2, max(1, len(values) // 4)
    late, second = _troughs(times[half:], values[half:]) if LIMITS[name].troughs else (times[half:], values[half:])
    slope = statistics.linear_regression(late, second).slope if len(second) > 1 else 0.0
    allowed = LIMITS[name].allowed(statistics.median(second)) if judged else None
    first = statistics.median(values[quarter : max(quarter + 1, half)] or values)
    return Trend(first, statistics.median(values[-quarter:]), slope * (late[-1] - late[0]), allowed)


def _troughs(times: Series, values: Series) -> tuple[Series, Series]:
    """Return the least of each block, at the block's end."""
    size = max(1, len(values) // BLOCKS)
    starts = range(0, len(values) - size + 1, size)
    return [times[start + size - 1] for start in starts], [min(values[start : start + size]) for start in starts]


HEAD = """\
| | second quarter | last quarter | rise over the second half | allowed | |
| --- | ---: | ---: | ---: | ---: | --- |"""


def table(trends: Mapping[str, Trend]) -> str:
    """Return Markdown: a row for each series."""
    return "\n".join([HEAD, *(_row(name, each) for name, each in trends.items())])


def _row(name: str, each: Trend) -> str:
    allowed = "not judged" if each.allowed is None else f"{each.allowed:.2f}"
    figures = f"{each.first:.2f} | {each.last:.2f} | {each.rise:+.2f} | {allowed}"
    return f"| {LIMITS[name].words} | {figures} | {'flat' if each.flat else '**rises**'} |"
