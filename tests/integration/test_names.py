"""A user's own modules that have the names of Tidegate's, beside an installation as `make install` makes it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hatchling.build import build_wheel

from tests.support.client import item
from tests.support.config import source
from tests.support.server import ROOT, Children
from tests.support.waiting import HANG_SECONDS, eventually

BROKEN = "raise SystemExit('a module of the user instead of one of Tidegate')\n"

POOLS = """
import multiprocessing


def square(number):
    return number * number


def work(events):
    return [[pool(kind) for kind in ("fork", "forkserver", "spawn")] for _ in events]


def pool(kind):
    with multiprocessing.get_context(kind).Pool(1) as pool:
        return pool.map(square, [7])
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The `tidegate` script of the Makefile, in an environment of its own beside the packages."""
    root = tmp_path_factory.mktemp("installed")
    script = root / ".venv" / "bin" / "tidegate"
    script.parent.mkdir(parents=True)
    script.with_name("python").symlink_to(Path(sys.executable).resolve())
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", root / ".venv")
    site = Path(sysconfig.get_path("purelib"))
    ours = root / ".venv" / site.relative_to(sys.prefix)
    ours.parent.mkdir(parents=True)
    ours.symlink_to(site)
    for name in ("server", "storage"):
        (root / name).symlink_to(ROOT / name)
    head = (ROOT / "Makefile").read_text().partition("define TIDEGATE\n")[2].partition("endef")[0]
    body = (ROOT / "server" / "cli" / "tidegate").read_text().partition("\n")[2]
    script.write_text(head.replace("$(CURDIR)/$(BIN)", str(script.parent)).replace("$$", "$") + body)
    script.chmod(0o755)
    return str(script)


def with_modules(directory: Path, *names: str) -> Mapping[str, str]:
    """An environment in which these modules of the user come first."""
    path = directory / "modules"
    path.mkdir()
    for name in names:
        (path / f"{name}.py").write_text(BROKEN)
    return os.environ | {"PYTHONPATH": str(path)}


def run(
    arguments: list[str], directory: Path, environment: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=directory, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )


def write_config(directory: Path, processor: str) -> str:
    path = directory / "tidegate.toml"
    path.write_text(f'[storage]\npath = "storage"\n{source("worked", processor=processor)}')
    (directory / "storage").mkdir()
    (directory / "orders.py").write_text("def work(events): pass\n")
    return str(path)


def test_modules_of_a_user_hide_nothing(command: str, children: Children) -> None:
    """A server starts, and works with all kinds of pools, whatever is first on Python's path; its log says what is
    hidden by it, and says so again at a reload."""
    child = children(source("worked", processor="pools:work", processor_timeout_seconds=HANG_SECONDS))
    (child.directory / "pools.py").write_text(POOLS)
    child.command = [command]
    child.environment |= with_modules(child.directory, "server", "storage")
    child.start()
    hidden = [line["problem"].split("/")[-1] for line in child.lines_of("hidden module")]
    assert [words.split()[0] for words in hidden] == ["server.py", "storage.py"]
    assert child.post("worked", item("a")).status == 200
    eventually(lambda: "result" in (child.admin("/events/worked/a").json or {}))
    assert child.admin("/events/worked/a").json["result"] == [[49], [49], [49]]
    child.reload()
    assert len(child.lines_of("hidden module")) == 4


def test_check_names_what_is_hidden(command: str, tmp_path: Path) -> None:
    """In one line each, on stderr; a store that is called so is none."""
    config = write_config(tmp_path, "orders:work")
    assert run([command, "check", "--config", config], tmp_path).stderr == ""
    done = run([command, "check", "--config", config], tmp_path, with_modules(tmp_path, "server", "storage"))
    assert done.returncode == 0
    assert [line.split(" is hidden")[0].rsplit("/", 1)[1] for line in done.stderr.splitlines()] == [
        "server.py",
        "storage.py",
    ]


def test_a_processor_of_this_name_is_wrong(command: str, tmp_path: Path) -> None:
    """`check` and a start end with 2 and one line that says which file to rename."""
    config = write_config(tmp_path, "server:work")
    (tmp_path / "server.py").write_text(BROKEN)
    for name in ("check", "serve"):
        done = run([command, name, "--config", config], tmp_path)
        assert done.returncode == 2
        assert done.stderr.endswith(f"rename {tmp_path / 'server.py'}\n")


def test_the_current_folder_hides_no_module(tmp_path: Path) -> None:
    """`python -m server` has it first on the path."""
    config = write_config(tmp_path, "orders:work")
    (tmp_path / "storage.py").write_text(BROKEN)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = run([sys.executable, "-m", "server", "check", "--config", config], tmp_path, environment)
    assert done.returncode == 0
    assert done.stderr.count("storage.py is hidden") == 1


def test_a_module_imported_before_is_named(command: str, tmp_path: Path) -> None:
    """A `sitecustomize` is before everything; then nothing but a new name helps."""
    config = write_config(tmp_path, "orders:work")
    environment = with_modules(tmp_path)
    (tmp_path / "modules" / "storage.py").touch()
    (tmp_path / "modules" / "sitecustomize.py").write_text("import storage\n")
    done = run([command, "check", "--config", config], tmp_path, environment)
    assert done.returncode == 2
    assert done.stderr == f"tidegate: {tmp_path}/modules/storage.py hides Tidegate's own module storage: rename it\n"


def test_pip_installs_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that pip writes itself would import whatever `server` is first on the path."""
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path))) as wheel:
        names = [name for name in wheel.namelist() if "/scripts/" in name or name.endswith("entry_points.txt")]
        assert [name.rpartition("/")[2] for name in names] == ["tidegate"]
        script = wheel.read(names[0])
        assert wheel.getinfo(names[0]).external_attr >> 16 & 0o111, "pip keeps whether it can be executed"
    assert script.startswith(b"#!python\n")  # as pip asks for
    assert script == (ROOT / "server" / "cli" / "tidegate").read_bytes()
