"""The grammar of the command line: what is found, what help says, what is imported, what a mistake is told."""

import importlib
import inspect
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from server.cli import finding, grammar
from server.cli.entry import _serves
from server.cli.grammar import Command, CommandGroup
from server.cli.main import ROOT, main
from server.observe.event_query import query_of
from tests.support.config import source
from tests.support.pages import page
from tests.support.waiting import HANG_SECONDS

Capture = pytest.CaptureFixture[str]

HEAVY = ("trio", "quart", "lmdb", "numpy", "orjson", "prometheus_client", "structlog", "tomlkit", "zstandard")
"""What starting a server or opening a store takes; none of it is needed to print words."""


def commands(group: CommandGroup = ROOT, *before: str) -> Iterator[tuple[str, Command | CommandGroup]]:
    """Every command and every group, by its whole name."""
    yield " ".join(before), group
    for name in group.rows:
        found = group.get_command(click.Context(group), name)
        assert found is not None
        if isinstance(found, CommandGroup):
            yield from commands(found, *before, name)
        else:
            yield " ".join((*before, name)), found


ALL = dict(commands())

WORKING = [pytest.param(name, each, id=name) for name, each in ALL.items() if isinstance(each, Command)]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the last command was called with, instead of doing its work."""
    values: dict[str, object] = {}

    def note(**given: object) -> int:
        values.clear()
        values.update(given)
        return 0

    monkeypatch.setattr(grammar, "implementation", lambda _: note)
    return values


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The three places of a configuration, each with a file; the working directory is one of them."""
    found = {name: tmp_path / name / "tidegate.toml" for name in ("environment", "here", "system")}
    for name, path in found.items():
        path.parent.mkdir()
        path.write_text(source(name))
    monkeypatch.setenv("TIDEGATE_CONFIG", str(found["environment"]))
    monkeypatch.chdir(found["here"].parent)
    monkeypatch.setattr(finding, "SYSTEM", found["system"])
    return found


def used(called: dict[str, object]) -> Path:
    """The configuration that a command was called with."""
    assert main(["verify"]) == 0
    path = called["config"]
    assert isinstance(path, Path)
    return path.absolute()


def test_three_places_are_tried_in_order(
    places: dict[str, Path], called: dict[str, object], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable's file is used, else that of the working directory, else the system's; an empty variable is none."""
    assert used(called) == places["environment"]
    monkeypatch.setenv("TIDEGATE_CONFIG", "")
    assert used(called) == places["here"]
    places["here"].unlink()
    assert used(called) == places["system"]
    assert capsys.readouterr() == ("", "")
    places["system"].unlink()
    assert main(["verify"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    for word in ("TIDEGATE_CONFIG", "./tidegate.toml", str(places["system"]), "--config FILE"):
        assert word in line


def test_a_variable_hides_other_places(
    places: dict[str, Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that names no file is a mistake, said with where the name is from: nothing else is taken instead."""
    monkeypatch.setenv("TIDEGATE_CONFIG", "nowhere.toml")
    assert main(["verify"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "tidegate: the configuration is nowhere.toml, as TIDEGATE_CONFIG says"
    assert second.endswith("nowhere.toml: cannot be read: No such file or directory")
    assert main(["verify", "--config", str(places["here"].parent / "none")]) == 2
    assert "the configuration is" not in capsys.readouterr().err


def test_a_terminal_is_told_which_was_found(
    places: dict[str, Path], called: dict[str, object], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal it is said once, whether an error follows or not; where --config names it, never."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TIDEGATE_CONFIG", "")
    assert main(["verify"]) == 0
    words = "tidegate: the configuration is tidegate.toml, which is in this directory\n"
    assert capsys.readouterr().err == words
    assert main(["verify", "--config", "tidegate.toml"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.undo()


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody but root gives files away")
def test_files_of_other_users_are_not_found(
    places: dict[str, Path], called: dict[str, object], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody else has put into the working directory is used where it is named, and not by itself."""
    monkeypatch.setenv("TIDEGATE_CONFIG", "")
    os.chown(places["here"], 12345, 12345)
    assert main(["verify"]) == 2
    assert "belongs to another user" in capsys.readouterr().err
    assert main(["verify", "--config", "tidegate.toml"]) == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("recipt", "there is no command 'recipt'; did you mean receipt?"),
        ("rekue", "there is no command 'rekue'; did you mean requeue?"),
        ("xyz", "there is no command 'xyz'; `tidegate --help` says what there is"),
        ("source lst", "source: there is no command 'lst'; did you mean list?"),
        ("help recipt", "there is no command 'recipt'; did you mean receipt?"),
        ("help source ad", "source: there is no command 'ad'; did you mean add?"),
        ("help check x", "check: there is no command 'x'; `tidegate check --help` says what there is"),
        ("requeue a --al", "requeue: there is no option --al; did you mean --all?"),
        ("receipt demo", "receipt: EVENT_ID is missing; `tidegate receipt --help` shows how"),
        ("source add a", "source add: --type is missing; `tidegate source add --help` shows how"),
        ("source add a --type x", "source add: --type: 'x' is not one of 'segment', 'webhook'"),
        ("send a --count 0", "send: --count: must be an integer from 1 on, not '0'"),
        ("send a --count", "send: option '--count' requires an argument; `tidegate send --help` says what there is"),
        ("check x", "check: got unexpected extra argument (x); `tidegate check --help` says what there is"),
        ("check -5", "check: got unexpected extra argument (-5); `tidegate check --help` says what there is"),
        ("dead --format xml", "dead: --format: 'xml' is not one of 'table', 'json', 'ndjson'"),
        ("--config '' check", "--config: the name of a file cannot be empty"),
        ("check --config ''", "check: --config: the name of a file cannot be empty"),
        ("backup ''", "backup: DEST: the name of a file cannot be empty"),
        ("completion csh", "completion: SHELL: 'csh' is not one of 'bash', 'zsh', 'fish'"),
    ],
)
def test_a_mistake_is_one_line(line: str, words: str, capsys: Capture) -> None:
    """Exit code 2 and one line on stderr, which says what was probably meant."""
    assert main(shlex.split(line)) == 2
    assert capsys.readouterr() == ("", f"tidegate: {words}\n")


@pytest.mark.parametrize("line", ["", "source"])
def test_nothing_typed_is_answered_by_help(line: str, capsys: Capture) -> None:
    """Exit code 2, as before, and the help on stderr: nothing is on stdout that a program could take for an answer."""
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("Usage: tidegate")) == ("", True)


@pytest.mark.parametrize("name", ALL)
def test_help_of_a_command_is_its_help(name: str, capsys: Capture) -> None:
    """`tidegate help NAME` is `tidegate NAME --help`, and no line of it is too long for a terminal of 80 columns."""
    assert main(["help", *name.split()]) == 0
    text = capsys.readouterr().out
    assert main([*name.split(), "--help"]) == 0
    assert capsys.readouterr().out == text
    assert text.startswith(f"Usage: {' '.join(['tidegate', *name.split()])} ")


@pytest.mark.parametrize("line", ["receipt --help", "help receipt"])
def test_help_needs_no_locale(line: str) -> None:
    """Where stdout has an encoding that lacks a character of it, help is UTF-8, as all that commands print."""
    done = subprocess.run(
        [sys.executable, "-m", "server", *line.split()],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        timeout=HANG_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert '{"pending":true,…}' in done.stdout.decode()


@pytest.mark.parametrize(("name", "command"), WORKING)
def test_every_option_is_in_the_page(name: str, command: Command) -> None:
    """The page about commands has every option of every command, and every action of a group."""
    text = page("docs/commands.md").text
    assert f"`tidegate {name}" in text
    assert [each for param in command.params for each in param.opts if each.startswith("-") and each not in text] == []


def test_version_is_a_command_too(capsys: Capture) -> None:
    """`tidegate version` is `tidegate --version`."""
    assert main(["version"]) == 0
    text = capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("name", ALL)
def test_examples_are_good_command_lines(name: str, called: dict[str, object], places: dict[str, Path]) -> None:
    """Every help has examples, each of which names its command and is understood."""
    examples = ALL[name].examples
    assert examples
    for line, _ in examples:
        _, _, typed = line.partition("tidegate ")
        words = shlex.split(typed.partition(" | ")[0].partition(" < ")[0].partition(" > ")[0].rstrip(')"'))
        assert words[: len(name.split())] == name.split()
        assert main(words) == 0, line


@pytest.mark.parametrize(("name", "command"), WORKING)
def test_what_is_declared_is_what_is_called(name: str, command: Command) -> None:
    """The function that a declaration names exists, and takes what is declared, no more and no less; the filters of
    events it may hand on."""
    declared = {each.name for each in command.params if each.expose_value}
    declared |= {"config"} if command.takes_config else set()
    taken = inspect.signature(grammar.implementation(command.does)).parameters.values()
    named = {each.name for each in taken if each.kind is not inspect.Parameter.VAR_KEYWORD}
    handed_on = set(inspect.signature(query_of).parameters) if len(named) < len(taken) else set()
    assert named <= declared <= named | handed_on


@pytest.mark.parametrize(("name", "command"), WORKING)
def test_help_names_a_configuration_if_needed(name: str, command: Command, capsys: Capture) -> None:
    """`--config` is in the help of what uses one; elsewhere it may be said, and does nothing."""
    assert main(["help", *name.split()]) == 0
    assert ("--config" in capsys.readouterr().out) is command.takes_config
    assert main([*name.split(), "--config", "nowhere.toml", "--help"]) == 0


def imported(*arguments: str, **environment: str) -> set[str]:
    """The modules that a run of the command had imported when it ended."""
    program = (
        "import contextlib, io, sys\n"
        "from server.cli.entry import main\n"
        "from server.base import streams\n"
        "import os\n"
        "def leave(code):\n"
        "    sys.stderr.write('\\n' + ' '.join(sys.modules))\n"
        "    sys.stderr.flush()\n"
        "    os._leave(code)\n"
        "os._leave, os._exit = os._exit, leave\n"
        f"sys.argv = {['tidegate', *arguments]!r}\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=HANG_SECONDS,
        check=False,
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "line",
    ["--version", "version", "--help", "recipt", "completion bash", "help requeue", "", "source"]
    + [f"{name} --help" for name in ALL if name],
)
def test_words_import_nothing_heavy(line: str) -> None:
    """What prints help, versions and mistakes imports neither the server nor the store, nor what they are made of."""
    found = imported(*line.split())
    assert "server.cli.main" in found
    assert found & {*HEAVY} == set()
    assert {name for name in found if name.startswith(("server.runtime", "server.http", "server.flow"))} == set()


def test_completing_imports_nothing_heavy(places: dict[str, Path]) -> None:
    """Completion is asked for at every press of a key; that of sources reads the configuration, and no more."""
    words = {"_TIDEGATE_COMPLETE": "bash_complete", "COMP_WORDS": "tidegate receipt ", "COMP_CWORD": "2"}
    assert imported(**words) & {*HEAVY} == set()


def test_every_declaration_imports_only_grammar() -> None:
    """A declaration imports the grammar, and perhaps a table of names: all of them together cost a few milliseconds."""
    for path in Path(importlib.import_module("server.cli.commands").__path__[0]).glob("[a-z]*.py"):
        lines = [line for line in path.read_text().splitlines() if line.startswith(("import", "from"))]
        allowed = ("import click", *(f"from server.cli.{name} " for name in ("grammar", "parameters", "providers")))
        assert [line for line in lines if not line.startswith(allowed)] == []


@pytest.mark.parametrize(
    ("line", "serves"),
    [
        ("serve", True),
        ("--config serve serve", True),
        ("--config x serve", True),
        ("--config=x serve", True),
        ("serve --config x --log-format json", True),
        ("serve --help", False),
        ("serve -h", False),
        ("--config serve check", False),
        ("check --config serve", False),
        ("send serve", False),
        ("--version serve", False),
        ("help serve", False),
        ("", False),
    ],
)
def test_a_server_is_known_before_imports(line: str, serves: bool) -> None:
    """Signals of a server that is starting are handled before anything else is imported, wherever options stand."""
    assert _serves(line.split()) is serves
