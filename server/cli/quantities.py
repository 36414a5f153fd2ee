"""Rates and spans of time as people read them. Data in, words out."""

UNKNOWN = "–"

UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def per_second(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if not value or value >= 10 else f"{value:.2g}"


def duration(seconds: float | None) -> str:
    """Return a span of time in its largest unit."""
    if seconds is None:
        return UNKNOWN
    if seconds < 1:
        return f"{seconds * 1000:.2g} ms" if 0 < seconds < 0.0995 else f"{seconds:.2g} s" if seconds else "0 s"
    length, unit = next(each for each in UNITS if seconds >= each[0])
    value = seconds / length
    return f"{value:.2g} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"
