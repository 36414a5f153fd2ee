"""`tidegate top` on a real terminal: what it shows, how it ends, and that it gives the terminal back, always."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.config import source
from tests.support.on_terminal import OnTerminal
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, NEVER_SECONDS, eventually

pytestmark = pytest.mark.xdist_group("top")  # one server for all of them

WITH_A_BUG = """
import sys
from server.cli import main, top
top.scrape = lambda client: 1 / 0
sys.exit(main.main(sys.argv[1:]))
"""

IMPATIENT = """
import sys
from server.cli import main, top
top.FIRST_ANSWER_SECONDS = 0.05
sys.exit(main.main(sys.argv[1:]))
"""

GIVEN_BACK = b"\x1b[?7h\x1b[?25h\x1b[?1049l"

LOCAL_MODES = 3
"""Where echo and canonical mode are, among the modes of a terminal."""

ALL_LINES = 5 + 2 + 2 + 41
"""Head and summary, the warning, the head of the table, the sources."""

Open = Callable[..., OnTerminal]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One server for the whole file."""
    with Children(tmp_path_factory.mktemp("top")) as children:
        sections = [source(f"s{number:02}") for number in range(40)]
        with children("".join([*sections, source("still", paused=True)])) as child:
            yield child


@pytest.fixture
def top(server: Child) -> Iterator[Open]:
    """Starts `tidegate top` on a terminal of its own."""
    made: list[OnTerminal] = []

    def start(child: Child = server, *, command: list[str] | None = None, **size: int) -> OnTerminal:
        environment = child.environment | {"TERM": "xterm"}
        environment.pop("NO_COLOR", None)
        made.append(OnTerminal(command or line(child), environment, child.directory, **size))
        return made[-1]

    yield start
    for each in made:
        each.close()


def line(child: Child, interval: int = 1) -> list[str]:
    child.cli("version")  # makes the configuration of commands, which names the ports
    return [*child.command, "top", "--interval", str(interval), "--config", str(child.directory / "commands.toml")]


def is_ready(frame: str) -> bool:
    return "  ready  " in frame


def has_lines(count: int, frame: str) -> bool:
    return len(frame.split("\n")) == count


def is_given_back(there: OnTerminal) -> bool:
    """The last that it wrote leaves the other screen, and the terminal has its modes."""
    return there.drawn.endswith(GIVEN_BACK) and there.mode == there.mode_before


def test_q_ends_it_and_restores_all(top: Open) -> None:
    """While it shows, nothing that is typed is echoed; after q everything is as before, and the exit code is 0."""
    there = top()
    there.wait_for_frame(is_ready)
    assert there.mode[LOCAL_MODES] != there.mode_before[LOCAL_MODES]
    there.type("x")
    there.type("q")
    assert there.wait() == 0
    assert is_given_back(there)


def test_what_is_typed_ahead_is_heard(top: Open) -> None:
    """Taking the terminal throws no key away that was typed before."""
    there = top()
    there.type("q")
    assert there.wait() == 0
    assert is_given_back(there)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP])
def test_signals_restore_the_terminal(top: Open, number: signal.Signals) -> None:
    """Ctrl-C and other ends give it back too; the exit code is as a shell reports the signal."""
    there = top()
    there.wait_for_frame(is_ready)
    if number is signal.SIGINT:
        there.type("\x03")
    else:
        there.process.send_signal(number)
    assert there.wait() == 128 + number
    assert is_given_back(there)
    assert b"Traceback" not in there.drawn


def test_a_bug_restores_the_terminal(server: Child, top: Open) -> None:
    """What nobody has foreseen is said on a terminal that is as it was, though another thread met it."""
    there = top(server, command=[sys.executable, "-c", WITH_A_BUG, *line(server)[1:]])
    assert there.wait() == 1
    left, _, said = there.drawn.rpartition(GIVEN_BACK)
    assert b"asking" in left
    assert b"ZeroDivisionError" in said
    assert there.mode == there.mode_before


def test_a_lost_connection_ends_it(top: Open) -> None:
    """When the terminal is closed it does not go on for ever."""
    there = top()
    there.wait_for_frame(is_ready)
    assert there.hang_up() == 128 + signal.SIGHUP


def test_rates_come_with_the_second_look(server: Child, top: Open) -> None:
    """It is drawn again by itself; what comes meanwhile is a rate, and counts stand beside it."""
    there = top()
    there.wait_for_frame(lambda frame: "in 0/s" in frame)
    assert "in –/s" in there.drawn.decode()

    def is_seen(frame: str) -> bool:
        server.post("s00", [{"inbound_event_id": f"{number}"} for number in range(100)])
        return re.search(r"in [1-9]", frame) is not None

    assert "duplicate" in there.wait_for_frame(is_seen)


def test_80_columns_fit_and_a_resize_counts(server: Child, top: Open) -> None:
    """No line is wider than the terminal and none is below its end; a new size is drawn at once, an absurd one too."""
    there = top(server, command=line(server, NEVER_SECONDS), columns=80, rows=24)
    frame = there.wait_for_frame(is_ready).splitlines()
    assert len(frame) == 24
    assert max(map(len, frame)) <= 80
    assert "DUP/S" not in "\n".join(frame)
    assert "paused: source still is paused" in "\n".join(frame)
    assert re.fullmatch(r"\d+ sources more: tidegate status", frame[-1])
    for columns, rows in ((130, 60), (40, 10), (1, 1)):
        there.resize(columns, rows)
        there.wait_for_frame(partial(has_lines, min(rows, ALL_LINES)))
        assert max(map(len, there.frame)) <= columns
        assert ("DUP/S" in "\n".join(there.frame)) == (columns > 100)
    there.type("q")
    assert there.wait() == 0


def test_colours_are_for_who_wants_them(server: Child, top: Open) -> None:
    """NO_COLOR is heeded: the same lines, without styles."""
    there = top()
    there.wait_for_frame(is_ready)
    assert b"\x1b[32mready\x1b[0m" in there.drawn
    plain = OnTerminal(line(server), server.environment | {"TERM": "xterm", "NO_COLOR": "1"}, server.directory)
    try:
        plain.wait_for_frame(is_ready)
        assert re.search(rb"\x1b\[[0-9;]*m", plain.drawn) is None
    finally:
        plain.close()


def test_a_restart_of_the_server_is_seen(children: Children, top: Open) -> None:
    """While nobody answers that is said, beside what was known last; then it goes on."""
    with children(source("orders")) as child:
        there = top(child)
        there.wait_for_frame(is_ready)
        child.kill()
        shown = there.wait_for_frame(lambda frame: "  no answer  " in frame)
        assert "nobody listens on 127.0.0.1" in shown
        assert "orders" in shown
        there.type("q")
        assert there.wait() == 0


def test_q_is_heard_while_nothing_answers(children: Children, top: Open) -> None:
    """A server that was stopped in its tracks keeps nobody waiting."""
    with children(source("orders")) as child:
        child.signal(signal.SIGSTOP)
        there = top(child)
        there.wait_for_frame(lambda frame: "asking" in frame)
        there.type("q")
        assert there.wait() == 0
        assert is_given_back(there)


def test_a_server_that_hangs_is_no_answer(children: Children, top: Open) -> None:
    """One that takes the connection and says nothing is not waited for longer than FIRST_ANSWER_SECONDS."""
    with children(source("orders")) as child:
        child.signal(signal.SIGSTOP)
        there = top(child, command=[sys.executable, "-c", IMPATIENT, *line(child)[1:]])
        shown = there.wait_for_frame(lambda frame: "  no answer  " in frame)
        assert f"127.0.0.1:{child.admin_port} does not answer within 0.05 s" in shown
        there.type("q")
        assert there.wait() == 0


def test_ctrl_z_gives_it_back_meanwhile(server: Child, top: Open) -> None:
    """In a shell it can be stopped, which finds its terminal as it was, and be brought to the front again."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    there = top(server, command=[bash, "--norc", "--noprofile", "--noediting", "-i"])
    words = " ".join(line(server))
    there.type(f"{words}\r")
    there.wait_for_frame(is_ready)
    there.type("\x1a")
    eventually(lambda: GIVEN_BACK in there.drawn and b"Stopped" in there.drawn.rpartition(GIVEN_BACK)[2])
    assert there.mode[LOCAL_MODES] == there.mode_before[LOCAL_MODES]
    stopped = len(there.drawn)
    there.type("fg\r")
    eventually(lambda: b"ready" in there.drawn[stopped:] and b"\x1b[J" in there.drawn[stopped:])
    there.type("q")
    eventually(lambda: GIVEN_BACK in there.drawn[stopped:])
    there.type("echo it-is-$?\r")
    eventually(lambda: b"it-is-0" in there.drawn)


def test_without_a_terminal_status_is_named(server: Child, tmp_path: Path) -> None:
    """In a pipe or a cron job it is an error, and says what there is instead."""
    done = subprocess.run(
        line(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=server.environment,
        cwd=tmp_path,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "elsewhere: tidegate status" in done.stderr
