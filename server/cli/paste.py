"""What somebody who has added a source does next: what to enter at its sender, and how the server takes it over."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from server.cli.providers import BEARER, PROVIDERS, TOKEN_FIELD, Provider

RELOAD = "a running server takes it over at `systemctl reload tidegate`, or `kill -HUP` with its process id"

SEGMENT = """\
Write key   {token}
Host        {base}

Python, segment-analytics-python:
    import segment.analytics as analytics
    analytics.write_key = "{token}"
    analytics.host = "{base}"

Node, @segment/analytics-node:
    const analytics = new Analytics({{ writeKey: "{token}", host: "{base}" }})

In a browser everybody can read the write key: give browsers a source of their own, whose key opens nothing else."""


def steps(kind: str, signature: str, values: Mapping[str, str], files: Iterable[Path]) -> Iterator[str]:
    """Yield the lines for people. `values`: what is filled in, of which a secret is shown here and never again."""
    if kind == "segment":
        yield from SEGMENT.format_map(values).splitlines()
    else:
        provider = PROVIDERS[signature] if signature else BEARER
        yield f"At {provider.title}: {provider.place}"
        yield from table([(f"  {name}", text) for name, text in _filled(provider, values)])
    yield ""
    if "token" in values:
        yield "The token is shown this once: only its hash is kept."
    for path in files:
        yield f"{path} holds a secret."


def _filled(provider: Provider, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the provider's fields whose values are known: what a rotation leaves as it is stays out.

    A token has a field in any case, since nothing else could show it.
    """
    is_shown = "token" not in values or "{token}" in str(provider.fields)
    for name, text in provider.fields if is_shown else (*provider.fields, TOKEN_FIELD):
        with suppress(KeyError):
            yield name, text.format_map(values)


def table(rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the lines of a table whose columns are as wide as they need to be."""
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
