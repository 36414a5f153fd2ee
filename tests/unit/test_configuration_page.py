"""The page about the configuration lists every setting as the table of settings has it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from server.config.settings import SECTIONS
from server.config.source_settings import SOURCE_SETTINGS
from server.config.values import REQUIRED, Setting, settings_of

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
MARK = "<!-- From here on: written by `python -m tests.unit.test_configuration_page`. -->\n"

OF_A_SOURCE = "A source: what its senders send, who may send, and what becomes of it. ID: 1 to 64 of `A-Z a-z 0-9 _ -`."


def listed() -> str:
    """Return the part of the page that is generated; `python -m tests.unit.test_configuration_page` writes it."""
    sections = [(f"[{name}]", section.__doc__ or "", settings_of(section)) for name, section in SECTIONS.items()]
    sections.append(("[sources.ID]", OF_A_SOURCE, SOURCE_SETTINGS))
    return "".join(line for section in sections for line in _section(*section))


def _section(title: str, words: str, settings: Mapping[str, Setting]) -> Iterator[str]:
    yield f"\n## {title}\n\n{words}\n"
    for key, setting in settings.items():
        default = "required" if setting.default is REQUIRED else f"default `{json.dumps(setting.default)}`"
        yield f"\n### `{key}`\n\n{setting.why}\n\nMust be {setting.kind.words}; {default}.\n"


def test_page_lists_what_the_settings_say() -> None:
    """Every setting is in docs/configuration.md, with its reason, its limits and its default."""
    assert PAGE.read_text().partition(MARK)[2] == listed()


if __name__ == "__main__":
    PAGE.write_text("".join(PAGE.read_text().partition(MARK)[:2]) + listed())
