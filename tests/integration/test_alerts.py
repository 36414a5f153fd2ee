"""The alerts of config/alerts.yml, judged by Prometheus itself: each fires when it should and keeps silent else."""

import json
import math
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import debian
from tests.support.pages import ROOT

RULES = ROOT / "config" / "alerts.yml"
MINUTES = 120

pytestmark = pytest.mark.xdist_group("bench")  # of all tests that use apt, which serves one at a time

Series = dict[str, str]
"""Samples, one a minute, in promtool's notation: `0x9` is ten times 0, `0+1x9` rises by 1."""


def bucket(name: str, fast: str, all_of_them: str) -> Series:
    limits = {"0.05": fast, "0.5": all_of_them, "+Inf": all_of_them}
    return {f'tidegate_{name}_seconds_bucket{{le="{limit}"}}': each for limit, each in limits.items()}


def counts(pending: int) -> Series:
    source = 'source="demo"'
    return {
        f"tidegate_events_received_total{{{source}}}": f"7x{MINUTES}",
        f"tidegate_events_replayed_total{{{source}}}": f"0x{MINUTES}",
        f"tidegate_events_requeued_total{{{source}}}": f"1x{MINUTES}",
        f'tidegate_events_total{{{source},outcome="processed"}}': f"4x{MINUTES}",
        f'tidegate_events_total{{{source},outcome="dead"}}': f"2x{MINUTES}",
        f"tidegate_events_pending{{{source}}}": f"{pending}x{MINUTES}",
    }


def requests(status: int, code: str, samples: str) -> Series:
    return {f'tidegate_requests_total{{status="{status}",code="{code}"}}': samples}


def full_in(days: float) -> Series:
    """A store that will be full so long after the end; infinite: never."""
    moment = "+Inf" if days == math.inf else str(round(MINUTES * 60 + days * 86400))
    return {"tidegate_store_full_timestamp_seconds": " ".join([moment] * MINUTES)}


STEADY = f"0+100x{MINUTES}"
RISING = f"0x{MINUTES - 31} 1+1x29"
"""A series that is at 0 from the start, and rises by one each minute of the last half hour."""
OFF = f"0x{MINUTES}"
LONG = f"0x{MINUTES - 63} 1x61"
"""A gauge that is 1 for the last hour."""
SHORT = f"0x{MINUTES - 3} 1"
"""One that is 1 at the very end only: for less than any `for` asks."""


def of_demo(name: str, samples: str, **labels: str) -> Series:
    found = ",".join(f'{key}="{value}"' for key, value in {"source": "demo", **labels}.items())
    return {f"tidegate_{name}{{{found}}}": samples}


CASES: dict[str, tuple[Series, Series]] = {
    "TidegateDown": (
        {'up{job="tidegate"}': f"1x{MINUTES - 4} 0x3"},
        {'up{job="tidegate"}': f"0x9 1x{MINUTES - 10}", 'up{job="another"}': f"0x{MINUTES}"},
    ),
    "TidegateNotReady": ({"tidegate_ready": f"1x{MINUTES - 4} 0x3"}, {"tidegate_ready": f"0x9 1x{MINUTES - 11} 0"}),
    "TidegateReloadRefused": (
        {"tidegate_config_last_reload_successful": f"1x{MINUTES - 7} 0x6"},
        {"tidegate_config_last_reload_successful": f"1x{MINUTES - 6} 0x3 1"},
    ),
    "TidegateSourceOverloaded": (of_demo("source_overloaded", LONG), of_demo("source_overloaded", SHORT)),
    "TidegateSourceStuck": (
        of_demo("source_stuck", LONG),
        of_demo("source_stuck", SHORT) | of_demo("oldest_pending_seconds", f"86400x{MINUTES}"),
    ),
    "TidegateSourcePaused": (of_demo("source_paused", LONG), of_demo("source_paused", f"0x{MINUTES - 60} 1x58")),
    "TidegateSourceSilent": (of_demo("source_silent", LONG), of_demo("source_silent", f"1x{MINUTES - 10} 0x9")),
    "TidegateBacklog": (of_demo("events_pending", f"100001x{MINUTES}"), of_demo("events_pending", f"100000x{MINUTES}")),
    "TidegateEventsDead": (
        of_demo("events_total", RISING, outcome="dead"),
        of_demo("events_total", f"0x9 5x{MINUTES - 10}", outcome="dead")
        | of_demo("events_total", STEADY, outcome="processed"),
    ),
    "TidegateProcessorFails": (
        of_demo("processor_failures_total", RISING),
        of_demo("processor_failures_total", f"0x9 5x{MINUTES - 10}"),
    ),
    "TidegateSendsAway": (
        requests(503, "overloaded", RISING) | requests(429, "overloaded", RISING),
        requests(503, "", STEADY) | requests(400, "invalid_json", STEADY) | requests(429, "draining", OFF),
    ),
    "TidegateUnauthorized": (
        requests(401, "unauthorized", STEADY),
        requests(401, "unauthorized", f"0+1x{MINUTES}") | requests(400, "invalid_json", STEADY),
    ),
    "TidegateSourceRefused": (
        of_demo("source_refused_total", f"0x{MINUTES - 31} 15+15x29", code="invalid_json"),
        of_demo("source_refused_total", f"0+1x{MINUTES}", code="unauthorized")
        | of_demo("source_refused_total", f"0x9 500x{MINUTES - 10}", code="invalid_json"),
    ),
    "TidegateStoreFills": (full_in(days=6.9), full_in(days=math.inf)),
    "TidegateJournalSlow": (bucket("journal", f"0+98x{MINUTES}", STEADY), bucket("journal", STEADY, STEADY)),
    "TidegateCommitSlow": (bucket("commit", f"0+98x{MINUTES}", STEADY), bucket("commit", STEADY, STEADY)),
    "TidegateLogLinesLost": (
        {"tidegate_log_lines_dropped_total": RISING},
        {"tidegate_log_lines_dropped_total": f"5x{MINUTES}"},
    ),
    "TidegateCountsDiffer": (counts(pending=1), counts(pending=2)),
}


@pytest.fixture(scope="module")
def tool() -> Path:
    found = debian.find("promtool", ["prometheus"])
    if found is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus), and apt cannot bring it")
    return found


def case(series: Series, firing: list[str]) -> dict[str, object]:
    """A test of promtool's: with these series these alerts fire at the end, and no other."""
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{MINUTES - 1}m",
                "exp_samples": expected,
            }
        ],
    }


def test_each_alert_has_its_cases() -> None:
    """Each rule has a case in which it fires, and one in which it keeps silent."""
    assert re.findall(r"- alert: (\w+)", RULES.read_text()) == list(CASES)


def test_each_alert_says_what_to_do() -> None:
    """Each rule has what it takes to be true for a while, how bad that is, what it is, and what to do about it."""
    for rule in re.split(r"\n      - alert: ", RULES.read_text())[1:]:
        assert re.search(r"\n        for: [1-9][0-9]*[mh]\n", rule), rule
        assert re.search(r"\n        labels: \{severity: (critical|warning|info)\}\n", rule), rule
        assert re.search(r"\n          summary: .+\n          action: .+", rule), rule


def test_alerts_fire_when_they_should(tool: Path, tmp_path: Path) -> None:
    """With the series of a trouble its alert fires alone; with those of a quiet day none does."""
    cases = [case(trouble, [name]) for name, (trouble, _) in CASES.items()]
    cases += [case(quiet, []) for _, quiet in CASES.values()]
    file = tmp_path / "cases.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    done = subprocess.run([tool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
