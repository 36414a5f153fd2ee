"""`status`: how the server does, on one screen, and whether anything is wrong, by the exit code."""

import shutil
import sys
import time
from pathlib import Path

from server.cli.client import AdminClient, NoAnswer
from server.cli.exit_codes import ERROR
from server.cli.failure import say
from server.cli.output import is_table, paint, print_bytes, print_json
from server.cli.overview import Overview, described, wrong
from server.cli.panel import lines
from server.cli.reading import open_reader
from server.cli.scrape import FIRST_ANSWER_SECONDS, Scrape, Trouble, of_store, scrape
from storage.errors import StoreError

MEASURED_SECONDS = 1.0
"""Between the two scrapes whose difference gives the rates."""


def run(config: Path, *, allow_dead: bool, quiet: bool, shape: str | None) -> int:
    overview = _look(config)
    assert overview.now is not None
    troubles = wrong(overview.now, allow_dead=allow_dead)
    if troubles or not quiet:
        _print(overview, troubles, shape)
    return ERROR if troubles else 0


def _look(config: Path) -> Overview:
    client = AdminClient(config, FIRST_ANSWER_SECONDS)
    try:
        before = scrape(client)
        time.sleep(MEASURED_SECONDS if before.sources else 0)
        return Overview(scrape(client), before)
    except NoAnswer as error:
        return Overview(_look_into_store(config, str(error)))


def _look_into_store(config: Path, problem: str) -> Scrape:
    try:
        with open_reader(config) as reader:
            return of_store(reader, Trouble("no_answer", problem, keeps_out=True))
    except (StoreError, OSError):
        say(problem)
        raise


def _print(overview: Overview, troubles: list[Trouble], shape: str | None) -> None:
    if not is_table(shape):
        print_json(described(overview, troubles))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    text = "\n".join(
        "".join(paint(*piece) for piece in line).rstrip() for line in lines(overview, troubles, width=width)
    )
    print_bytes(f"{text}\n".encode())
