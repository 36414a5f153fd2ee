"""The `tidegate` command: arguments in, an exit code out. A user's mistake is a line on stderr, never a traceback."""

import os
import sys
from collections.abc import Sequence

import click

from server.cli.exit_codes import BROKEN_PIPE, ERROR, INTERRUPTED, MISTAKE
from server.cli.failure import CommandFailed, lead_nowhere, say
from server.cli.grammar import CommandGroup, Row
from server.cli.invocation import COMPLETE_VARIABLE, Invocation
from server.config.toml_text import ConfigError
from storage.errors import StoreDamaged, StoreError, StoreOld

ABOUT = """\
An event gateway for the edge that never loses or doubles what it acknowledged.

Exit codes: 0 done; 1 not done, or it does not exist; 2 the arguments or the configuration cannot be used, or the store
must be converted first. JSON for programs goes to stdout, words for people to stderr.
"""

COMMANDS = (
    Row("serve", "take deliveries and process them, until a signal ends it", "server.cli.commands.serve"),
    Row("check", "validate the configuration; print its sources and the capacity plan", "server.cli.commands.check"),
    Row("source", "add sources to the configuration, list them, give them new secrets", "server.cli.commands.source"),
    Row(
        "send",
        "send real requests to the running server, authenticated and signed as the source asks",
        "server.cli.commands.send",
    ),
    Row("status", "say how the server does, and whether anything is wrong", "server.cli.commands.status"),
    Row("top", "show how the server does, drawn anew every two seconds", "server.cli.commands.top"),
    Row("receipt", "print what became of an event", "server.cli.commands.receipt"),
    Row("event", "print a normalised event", "server.cli.commands.event"),
    Row(
        "delivery",
        "print a delivery: when it came, from where, and what became of each of its items",
        "server.cli.commands.delivery",
    ),
    Row("events", "list the events that meet some conditions, the newest first", "server.cli.commands.events"),
    Row("tail", "print the newest events, and with -f what comes, as it comes", "server.cli.commands.tail"),
    Row("dead", "list dead events with their last error", "server.cli.commands.dead"),
    Row("why", "say why requests of a source were refused, the newest first", "server.cli.commands.why"),
    Row(
        "requeue",
        "give dead events back to the processor: their attempts start at 0 again",
        "server.cli.commands.requeue",
    ),
    Row("discard", "let dead events be dead for good: nobody wants them", "server.cli.commands.discard"),
    Row("forget", "take what events held out of every file, for good", "server.cli.commands.forget"),
    Row("replay", "give archived events to a processor anew", "server.cli.commands.replay"),
    Row("retry", "try now what waits after a failure", "server.cli.commands.retry"),
    Row("export", "write events into a file, with a manifest", "server.cli.commands.export"),
    Row("backup", "copy the whole store, beside its server", "server.cli.commands.backup"),
    Row(
        "verify",
        "check the whole store: every record, and that every event is accounted for",
        "server.cli.commands.verify",
    ),
    Row(
        "trust-clock",
        "believe the wall clock: time that was withheld over a reboot counts",
        "server.cli.commands.trust_clock",
    ),
    Row("migrate", "convert a stopped store of an older format", "server.cli.commands.migrate"),
    Row("completion", "print the script that lets a shell complete commands", "server.cli.commands.completion"),
    Row("help", "print the help of a command", "server.cli.commands.help"),
    Row("version", "print the version", "server.cli.commands.version"),
)

ROOT = CommandGroup(
    COMMANDS,
    help=ABOUT,
    examples=(
        ("tidegate serve --config /etc/tidegate/tidegate.toml", "the server, until a signal ends it"),
        ("tidegate send orders", "a sample event to the source orders of the running server"),
        ("tidegate receipt orders 4711", "what became of the event 4711"),
        ("tidegate help requeue", "the help of a command"),
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    invocation = Invocation()
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv), invocation)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.message, err=True)
        return MISTAKE
    except click.UsageError as error:
        from server.cli.mistakes import words_of  # noqa: PLC0415 - where there is one

        return _report(MISTAKE, invocation, words_of(error))
    except CommandFailed as error:
        return _report(error.code, invocation, *error.lines)
    except ConfigError as error:
        return _report(MISTAKE, invocation, *error.mistakes)
    except BrokenPipeError:
        lead_nowhere(sys.stdout)  # no reader any more (`| head`)
        return BROKEN_PIPE
    except StoreOld as error:
        return _report(MISTAKE, invocation, str(error))
    except StoreDamaged as error:
        return _report(ERROR, invocation, f"the store is damaged: {error}; run `tidegate verify`")
    except (StoreError, OSError) as error:
        return _report(ERROR, invocation, str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _run(arguments: list[str], invocation: Invocation) -> int:
    """Run the command, or complete one for a shell."""
    asked = os.environ.get(COMPLETE_VARIABLE)
    if asked is not None:
        from server.cli.completion import complete  # noqa: PLC0415 - when a shell asks only

        return complete(asked, ROOT)
    try:
        with ROOT.make_context("tidegate", arguments, obj=invocation) as context:
            return int(ROOT.invoke(context))
    except click.exceptions.Exit as done:
        return done.exit_code


def _report(code: int, invocation: Invocation, *lines: str) -> int:
    """Say which configuration was found, what failed, and perhaps who should run it."""
    found = invocation.found
    if found is not None and found.why and not sys.stderr.isatty():
        say(found.words)
    for line in lines:
        say(line)
    if found is not None:
        from server.cli.service_user import advice  # noqa: PLC0415 - where something failed

        words = advice(found, lines)
        if words is not None:
            say(words)
    return code
