"""`tidegate source add`."""

import click

from server.cli.grammar import Command
from server.cli.parameters import argument, choice_option, option
from server.cli.providers import PROVIDERS


def _or_by_provider(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """Return the type: the providers send webhooks. Options that were typed are known before those that were not."""
    if value is None and ctx.params.get("provider") is None:
        raise click.MissingParameter(ctx=ctx, param=param)
    return value or "webhook"


COMMAND = Command(
    "server.cli.source_changes:run_add",
    argument("name", "the id of the new source"),
    choice_option(
        "--type",
        ("segment", "webhook"),
        "the shape of the bodies; default, with --provider: webhook",
        into="kind",
        callback=_or_by_provider,
    ),
    choice_option("--provider", tuple(PROVIDERS), "who signs the webhooks, and how; default: nobody does"),
    option("--processor", "what gets the events; default: archive only", metavar="MODULE:FUNCTION"),
    option(
        "--secret-from",
        "where the vendor's secret is read from; default: a terminal is asked",
        metavar="env:NAME|file:PATH",
    ),
    option("--url", "where senders reach the server, for what is printed; default: server.bind", metavar="URL"),
    about="Prints once what is to be entered at the sender. A file that would have a mistake stays as it is.",
    examples=(
        ("tidegate source add web --type segment", "for the SDKs of Segment"),
        ("tidegate source add orders --type webhook --processor orders:handle", "for a sender with a token"),
        (
            "tidegate source add pay --provider stripe --secret-from file:stripe-secret",
            "for Stripe, whose signing secret is in a file",
        ),
    ),
)
