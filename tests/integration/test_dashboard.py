"""config/grafana-dashboard.json: every expression of it, run by a real Prometheus that has scraped a real server."""

import contextlib
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import debian
from tests.support.client import item
from tests.support.config import source
from tests.support.pages import ROOT
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

pytestmark = pytest.mark.xdist_group("bench")  # of all tests that use apt, which serves one at a time

FILE = ROOT / "config" / "grafana-dashboard.json"
DASHBOARD = json.loads(FILE.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
WIDTH = 24
"""Of Grafana's grid."""

VARIABLES = {"$job": "tidegate", "$source": ".*", "$__rate_interval": "1m"}
"""What Grafana puts in their places."""

NOT_YET = ("tidegate_store_full_timestamp_seconds",)
"""Without a sample in the first ten minutes of a store."""
NOT_HERE = ("process_open_fds", "process_max_fds")
"""Without one where /proc says nothing of it."""


class Query(NamedTuple):
    """An expression, and where in the dashboard it stands."""

    place: str
    text: str


def queries() -> Iterator[Query]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield Query(f"{panel['title']} {target['refId']}", target["expr"])
    for each in DASHBOARD["annotations"]["list"]:
        yield Query(each["name"], each["expr"])


def filled(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return text


def names_in(text: str) -> set[str]:
    """The metrics that an expression names: what precedes labels, and what looks like one of the server's."""
    return {found[0].removesuffix("{") for found in re.finditer(r"[a-zA-Z_:][\w:]*\{|\b(?:tidegate|process)_\w+", text)}


class Prometheus:
    """One that scrapes this server each second, asked over HTTP."""

    def __init__(self, program: Path, directory: Path, server: Child) -> None:
        config = directory / "prometheus.yml"
        scraped = {"job_name": "tidegate", "static_configs": [{"targets": [f"127.0.0.1:{server.admin_port}"]}]}
        config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scraped]}))
        command = [
            *(str(program), f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}"),
            "--web.listen-address=127.0.0.1:0",
        ]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert self.process.stderr is not None
        self.said = self.process.stderr
        self.address = self._address()

    def _address(self) -> str:
        for line in self.said:
            if found := re.search(r'msg="Listening on" address=(\S+)', line):
                return found[1]
        raise AssertionError("Prometheus has ended")

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of its API. Raises AssertionError with its error."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=HANG_SECONDS) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from None

    def run(self, expression: str) -> list[Mapping[str, Any]]:
        """The samples of an expression now."""
        return list(self.ask("query", query=expression)["result"])

    def has_scraped(self, times: int) -> bool:
        """Whether it has scraped the server so often; false too while it does not answer yet."""
        with contextlib.suppress(urllib.error.URLError, AssertionError):
            found = self.run('count_over_time(up{job="tidegate"}[1h])')
            return bool(found) and int(found[0]["value"][1]) >= times
        return False


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped a busy server three times, with everything that a source can have."""
    program = debian.find("prometheus", ["prometheus"])
    if program is None:
        pytest.skip("prometheus is not installed (Debian: apt install prometheus), and apt cannot bring it")
    directory = tmp_path_factory.mktemp("dashboard")
    sections = source("works", processor="processors:plain", expect_every_seconds=3600) + source("paused", paused=True)
    with Children(directory) as children, children(sections) as child:
        assert child.post("works", [item("a"), item("b"), item("a")]).status == 200
        assert child.post("works", b"no json").status == 400
        started = Prometheus(program, directory, child)
        try:
            eventually(lambda: started.has_scraped(3))
            yield started
        finally:
            started.process.kill()
            started.process.wait(HANG_SECONDS)
            started.said.close()


@pytest.mark.parametrize("query", list(queries()), ids=lambda query: query.place)
def test_every_expression_finds_its_metrics(prometheus: Prometheus, query: Query) -> None:
    """An expression runs, names metrics that the server has, and finds something in what two scrapes have brought."""
    names = names_in(query.text)
    assert names
    for name in names:
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        known = prometheus.ask("targets/metadata", metric=family) or prometheus.ask("targets/metadata", metric=name)
        assert known, f"{name} is no metric of the server's"
    found = prometheus.run(filled(query.text))
    may_be_empty = any(name in NOT_YET + NOT_HERE for name in names) or " > 0" in query.text
    assert found or may_be_empty


def test_every_label_of_a_legend_exists(prometheus: Prometheus) -> None:
    """What a legend shows of a sample is a label that the samples have."""
    for panel in PANELS:
        for target in panel["targets"]:
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            for sample in prometheus.run(filled(target["expr"])):
                assert labels <= sample["metric"].keys(), target


def test_every_variable_has_its_values(prometheus: Prometheus) -> None:
    """The job and the sources that can be chosen are those that there are."""
    values = {}
    for each in DASHBOARD["templating"]["list"]:
        if each["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+)(?:\{[^}]*\})?, (\w+)\)", each["query"]["query"])
            assert found is not None
            samples = prometheus.run(found[1])
            values[each["name"]] = sorted({sample["metric"][found[2]] for sample in samples})
    assert values == {"job": ["tidegate"], "source": ["paused", "works"]}


def test_every_metric_of_ours_is_shown() -> None:
    """Each metric that docs/metrics.md names stands in a panel."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(tidegate_[a-z_]+)`", page, re.MULTILINE))
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for query in queries() for name in names_in(query.text)}
    assert documented - shown == {"tidegate_build_info"}


def test_panels_say_what_they_show() -> None:
    """Each panel has an id of its own, a title, words, a unit, and the data source that was chosen."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references)) > 0


def test_panels_lie_beside_each_other() -> None:
    """No panel lies on another, or beyond the grid."""
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = sorted((at["y"] + dy, at["x"] + dx) for at in places for dy in range(at["h"]) for dx in range(at["w"]))
    assert all(one != other for one, other in pairwise(cells))
    assert all(0 <= x < WIDTH for _, x in cells)
