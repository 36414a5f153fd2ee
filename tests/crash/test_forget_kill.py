"""`tidegate forget` on a stopped store, killed at any of its calls: run again it ends with nothing left."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import pending
from tests.support.server import ROOT, Child, Children
from tests.support.traces import left_in, traces_of
from tests.support.waiting import eventually

CALLS = 3000
"""Somewhat fewer than the command makes in such a store."""
OTHERS, FORGOTTEN = 60, 5
ANYWHERE = sorted(Random(11).sample(range(1, CALLS), 10))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Child, set[bytes]]]:
    """A server that has stopped, with results, errors and batches of strangers; and what is to be left nowhere."""
    with Children(tmp_path_factory.mktemp("forget")) as children:
        child = children(source("works", processor="processors:plain", processor_attempts_max=1))
        with child:
            for number in range(OTHERS):
                mine = item("mine", do="say", value=text_of(number))
                other = item(f"other-{number}", do="result", value=text_of(OTHERS + number))
                child.post("works", [mine, other] if number % (OTHERS // FORGOTTEN) == 0 else [other])
            eventually(lambda: pending(child, "works") == 0)
            lines = child.cli("events", "works", "--event-id", "mine", "--all", "--format", "ndjson").stdout
            numbers = [json.loads(line)["number"] for line in lines.splitlines()]
            assert len(numbers) == FORGOTTEN
            child.stop()
        yield child, traces_of(child.store, numbers)


def text_of(number: int) -> str:
    return base64.b64encode(Random(number).randbytes(40)).decode()


@pytest.mark.parametrize("call", ANYWHERE)
def test_a_killed_forget_ends_right(stopped: tuple[Child, set[bytes]], tmp_path: Path, call: int) -> None:
    """After the kill the store is sound; run again, the command leaves nothing of it, and all that is around it."""
    made, traces = stopped
    shutil.copytree(made.directory, tmp_path, dirs_exist_ok=True)
    child = Child(tmp_path, "")
    shutil.copyfile(made.config, child.config)
    command = ["forget", "--config", str(child.config), "works", "mine", "--yes"]
    target = ("server.cli.forget:_forget", str(call))
    killed = subprocess.run(
        [sys.executable, "-P", "-m", "tests.support.killed", *target, *command],
        cwd=ROOT,
        env=child.environment,
        capture_output=True,
        check=False,
    )
    assert killed.returncode in (-9, 0), killed.stderr
    assert json.loads(child.cli("verify").stdout)["ok"] is True
    done = child.cli("forget", "works", "mine", "--yes")
    assert json.loads(done.stdout)["overwritten"] is True
    texts = [text_of(number) for number in range(0, OTHERS, OTHERS // FORGOTTEN)]
    assert left_in(child.store, texts, traces) == []
    assert json.loads(child.cli("verify").stdout)["ok"] is True
    others = child.cli(
        "events", "works", "--id", "other", "--all", "--payload", "--format", "ndjson"
    ).stdout.splitlines()
    assert len([line for line in others if json.loads(line)["payload"]]) == OTHERS
