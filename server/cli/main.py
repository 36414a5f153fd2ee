"""The `tidegate` command: arguments in, an exit code out. A user's mistake is a line on stderr, never a traceback."""

import argparse
import sys
from collections.abc import Sequence

from server.cli import check, inspect, migrate, requeue, send, serve, source, trust_clock, verify, why
from server.cli.common import VERSION, CommandFailed, IntermixedParser, lead_nowhere, say
from server.cli.exit_codes import BROKEN_PIPE, ERROR, INTERRUPTED, MISTAKE
from server.config.load import ConfigError
from storage.errors import StoreDamaged, StoreError, StoreOld
from storage.lmdb_store.process_number import with_a_free_number

EXIT_CODES = """\
exit codes: 0 done; 1 not done, or it does not exist; 2 the arguments or the configuration cannot be used, or the store
must be converted first.
JSON for programs goes to stdout, words for people to stderr.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Lets argparse's own SystemExit pass (help, version, usage)."""
    arguments = parser().parse_args(argv)
    try:
        code = with_a_free_number(lambda: int(arguments.run(arguments)))
        sys.stdout.flush()
    except CommandFailed as error:
        return _report(error.code, *error.lines)
    except ConfigError as error:
        return _report(MISTAKE, *error.mistakes)
    except BrokenPipeError:
        lead_nowhere(sys.stdout)  # no reader any more (`| head`)
        return BROKEN_PIPE
    except StoreOld as error:
        return _report(MISTAKE, str(error))
    except StoreDamaged as error:
        return _report(ERROR, f"the store is damaged: {error}; run `tidegate verify`")
    except (StoreError, OSError) as error:
        return _report(ERROR, str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="tidegate",
        description="An event gateway for the edge that never loses or doubles what it acknowledged.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=VERSION)
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=IntermixedParser)
    for module in (serve, check, source, send, inspect, why, requeue, verify, trust_clock, migrate):
        module.add(commands)
    return top


def _report(code: int, *lines: str) -> int:
    for line in lines:
        say(line)
    return code
