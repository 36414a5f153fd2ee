"""`source`: sources are added to the configuration, listed, and get new tokens and secrets."""

import argparse
import sys
from collections.abc import Iterator

from server.base.json_text import json_text
from server.base.printable import printable
from server.base.source import Source
from server.cli.common import Subparsers, new_command, print_bytes, utf8
from server.cli.paste import table
from server.cli.providers import PROVIDERS

HEAD = ("ID", "TYPE", "SENDERS SHOW", "TOKENS", "SECRETS", "PROCESSOR", "LIMIT", "")


def add(commands: Subparsers) -> None:
    group = new_command(commands, "source", "add sources to the configuration, list them, give them new secrets")
    parts = group.add_subparsers(metavar="ACTION", required=True)
    _add_add(parts)
    parser = new_command(parts, "list", "list the sources, as JSON lines where stdout is no terminal", is_part=True)
    parser.set_defaults(run=run_list)
    parser = new_command(
        parts,
        "rotate",
        "add a new token or secret beside the old one; both are accepted",
        "Prints once what is to be entered at the sender. Afterwards: source retire.",
        is_part=True,
    )
    _add_name(parser)
    _add_which(parser)
    _add_values(parser)
    parser.set_defaults(run=run_rotate)
    parser = new_command(
        parts, "retire", "take out all tokens or secrets but the first, where rotate puts the newest", is_part=True
    )
    _add_name(parser)
    _add_which(parser)
    parser.set_defaults(run=run_retire)


def _add_add(parts: Subparsers) -> None:
    parser = new_command(
        parts,
        "add",
        "append a source to the configuration, with a token or a secret",
        "Prints once what is to be entered at the sender. A file that would have a mistake stays as it is.",
        is_part=True,
    )
    _add_name(parser)
    parser.add_argument("--type", required=True, choices=("segment", "webhook"), help="the shape of the bodies")
    parser.add_argument("--provider", choices=PROVIDERS, help="who signs the webhooks, and how; default: nobody does")
    parser.add_argument("--processor", metavar="MODULE:FUNCTION", help="what gets the events; default: archive only")
    _add_values(parser)
    parser.set_defaults(run=run_add)


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=utf8, metavar="NAME", help="the id of the source")


def _add_which(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--token", dest="key", action="store_const", const="tokens", help="where it has both")
    which.add_argument("--secret", dest="key", action="store_const", const="signing_secrets", help="where it has both")


def _add_values(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--secret-from",
        metavar="env:NAME|file:PATH",
        help="where the vendor's secret is read from; default: a terminal is asked",
    )
    parser.add_argument(
        "--url", metavar="URL", help="where senders reach the server, for what is printed; default: server.bind"
    )


def run_add(arguments: argparse.Namespace) -> int:
    from server.cli.source_changes import run_add  # noqa: PLC0415 - the other commands start faster without it

    return run_add(arguments)


def run_rotate(arguments: argparse.Namespace) -> int:
    from server.cli.source_changes import run_rotate  # noqa: PLC0415 - as above

    return run_rotate(arguments)


def run_retire(arguments: argparse.Namespace) -> int:
    from server.cli.source_changes import run_retire  # noqa: PLC0415 - as above

    return run_retire(arguments)


def run_list(arguments: argparse.Namespace) -> int:
    from server.cli.source_changes import judged  # noqa: PLC0415 - as above

    sources = judged(arguments.config).sources.values()
    if not sys.stdout.isatty():
        for source in sources:
            print_bytes(json_text(_value(source)) + b"\n")
    else:
        for line in table([HEAD, *map(_cells, sources)]):
            print_bytes(printable(line).encode() + b"\n")
    return 0


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


def _cells(source: Source) -> Iterator[str]:
    shown = ["token"] * bool(source.token_digests) + [f"{source.signature} signature"] * bool(source.signing_keys)
    yield from (source.id, source.type, ", ".join(shown))
    yield from (str(len(source.token_digests)), str(len(source.signing_keys)))
    yield source.processor or "none"
    rate = source.rate_limit_events_per_second
    yield f"{rate:g}/s, {source.over_limit}" if rate else "none"
    yield "paused" if source.paused else ""
