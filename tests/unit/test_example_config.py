"""The files in config/: the demo works out of the box, and the example shows every setting at its default."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from server.base.source import Source
from server.config.load import ConfigError, load, sending_token
from server.config.settings import SECTIONS
from server.config.source_settings import SOURCE_SETTINGS
from server.config.values import REQUIRED, Setting, settings_of

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "example.toml"
DEMO = ROOT / "config" / "tidegate.toml"

HEAD = """\
# Every setting there is, at its default, with what it may be. A file needs only what differs.
#
# A secret is the secret itself, env:NAME or file:PATH (from this file's directory; one newline at its end is cut).
# A token may also be sha256:HEX. SIGHUP reloads [sources] and all secrets; anything else needs a restart.
"""

OF_THE_DEMO = {"type": "webhook", "tokens": ["env:DEMO_TOKEN"]}
"""What has no default."""


def example() -> str:
    """The example file as the table of settings says it; `python -m tests.unit.test_example_config` writes it."""
    sections = {name: settings_of(section) for name, section in SECTIONS.items()}
    return HEAD + "".join(
        line for name, table in {**sections, "sources.demo": SOURCE_SETTINGS}.items() for line in _section(name, table)
    )


def _section(name: str, settings: Mapping[str, Setting]) -> Iterator[str]:
    yield f"\n[{name}]\n"
    for key, setting in settings.items():
        default = OF_THE_DEMO[key] if setting.default is REQUIRED else setting.default
        yield f"# {setting.why}\n#   {setting.kind.words}\n{key} = {json.dumps(default)}\n"


def test_example_file_is_what_the_settings_say() -> None:
    """Every setting is in the example file, with its reason, its limits and its default."""
    assert EXAMPLE.read_text() == example()


def test_example_file_means_the_defaults() -> None:
    """Loading the example gives the same as loading a file with nothing but a source in it."""
    loaded = load(EXAMPLE, {"DEMO_TOKEN": "t"})
    for name, section in SECTIONS.items():
        default = section()
        if name == "storage":
            default = replace(default, path=EXAMPLE.parent / "data")
        assert getattr(loaded, name) == default
    source = loaded.sources["demo"]
    assert source == Source(id="demo", type="webhook", token_digests=source.token_digests)


def test_every_reason_fits_on_a_line() -> None:
    """No line of the example is longer than a line of code, and each reason is a sentence."""
    for settings in (*map(settings_of, SECTIONS.values()), SOURCE_SETTINGS):
        assert all(setting.why.endswith(".") for setting in settings.values())
    assert max(map(len, example().splitlines())) <= 120


def test_demo_works_out_of_the_box() -> None:
    """The demo file needs no environment, has both types of sources, and listens on loopback."""
    demo = load(DEMO, {})
    assert {source.id: source.type for source in demo.sources.values()} == {
        "demo": "webhook",
        "demo-segment": "segment",
    }
    assert demo.server.bind.is_loopback
    assert demo.server.admin_bind.is_loopback
    assert demo.storage.path == ROOT / "data"


def test_make_run_prints_the_demo_token() -> None:
    """The curl line that `make run` prints is for the demo as it is configured."""
    demo = load(DEMO, {})
    makefile = (ROOT / "Makefile").read_text()
    assert f"Bearer {(sending_token(demo, 'demo', {}) or b'').decode()}'" in makefile
    assert f"http://{demo.server.bind}/ingest/inbound/demo" in makefile


def test_a_reachable_demo_token_is_refused(tmp_path: Path) -> None:
    """The demo file with any bind other than loopback is an error that names the source."""
    opened = tmp_path / "tidegate.toml"
    opened.write_text(DEMO.read_text().replace('\nbind = "127.0.0.1', '\nbind = "0.0.0.0'))
    with pytest.raises(ConfigError) as error:
        load(opened, {})
    assert [mistake.partition(":")[0] for mistake in error.value.mistakes] == [
        "sources.demo.tokens",
        "sources.demo-segment.tokens",
    ]


def test_example_is_plain_toml() -> None:
    """Any TOML reader sees the sections of the contract."""
    assert list(tomllib.loads(EXAMPLE.read_text())) == [*SECTIONS, "sources"]


if __name__ == "__main__":
    EXAMPLE.write_text(example())
