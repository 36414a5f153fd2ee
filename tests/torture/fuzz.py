"""Any bytes: to what decodes them, led by coverage, and to both front ends, by a grammar of requests.

The fuzzer comes from PyPI, into `build/`, and what it has learned stays there for the next round.
"""

import base64
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded

from tests.support.fuzz_targets import TARGETS
from tests.support.hostile import conversations
from tests.support.hostile_pair import Pair
from tests.support.server import ROOT
from tests.torture.fault import Fault, Impossible, Round

INSTALLED = ROOT / "build" / "atheris"
CORPORA = ROOT / "build" / "corpora"
REQUIREMENTS = Path(__file__).with_name("atheris.txt")
ROUND_SECONDS = 60
CONVERSATIONS = 1000
INPUT_BYTES_MAX = 4096
MEMORY_MEBIBYTES_MAX = 1024
INPUT_SECONDS_MAX = 10
"""Of one input. All are at most 4 kB: what takes as long has hung."""

_RUNS = re.compile(r"Done ([0-9]+) runs")


def led_by_coverage(name: str, seed: int, directory: Path) -> Round:
    """Fuzz one target for a while, from what earlier rounds have found out."""
    _install()
    corpus = CORPORA / name.replace(" ", "-")
    corpus.mkdir(parents=True, exist_ok=True)
    for number, right in enumerate(TARGETS[name].seeds):
        (corpus / f"seed-{number}").write_bytes(right)
    options = [
        f"-seed={seed + 1}",
        f"-max_total_time={ROUND_SECONDS}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-rss_limit_mb={MEMORY_MEBIBYTES_MAX}",
        f"-timeout={INPUT_SECONDS_MAX}",
        f"-artifact_prefix={directory}/",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.fuzzing", name, *options, str(corpus)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(INSTALLED)},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    inputs = [base64.b64encode(path.read_bytes()).decode() for path in directory.iterdir()]
    runs = _RUNS.search(done.stderr)
    words = () if done.returncode == 0 and runs else (f"{(done.stdout + done.stderr)[-3000:]} input: {inputs}",)
    return Round(0, problems=words, cases=int(runs[1]) if runs else 1)


def _install() -> None:
    if (INSTALLED / "atheris").exists():
        return
    command = "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", "--no-deps"
    done = subprocess.run(
        [sys.executable, *command, "--target", str(INSTALLED), "--requirement", str(REQUIREMENTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Impossible("atheris cannot be installed here: PyPI has it for Python 3.11 to 3.13")


def by_grammar(seed: int, directory: Path) -> Round:
    """Say so many conversations of an attacker to both front ends; judge answers and books."""
    with Pair(directory) as pair:

        @seeded(seed)
        @settings(max_examples=CONVERSATIONS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(conversations())
        def say(pieces: list[bytes]) -> None:
            pair.say(pieces)

        say()
        pair.check()
        return Round(2 * pair.taken, cases=CONVERSATIONS)


FAULTS = (
    Fault("requests of a grammar", by_grammar, long=10, short=0, unit="conversations"),
    *(
        Fault(f"{name}, led by coverage", partial(led_by_coverage, name), long=3, short=0, unit="inputs")
        for name in TARGETS
    ),
)
