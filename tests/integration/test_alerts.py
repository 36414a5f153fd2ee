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
BEFORE = f"0x{MINUTES - 3}"
"""A series that is at 0 from the start, until shortly before the end."""

CASES: dict[str, tuple[Series, Series]] = {
    "TidegateDown": (
        {'up{job="tidegate"}': f"1x{MINUTES - 4} 0x3"},
        {'up{job="tidegate"}': f"0x9 1x{MINUTES - 10}", 'up{job="another"}': f"0x{MINUTES}"},
    ),
    "TidegateSourceStuck": (
        {'tidegate_oldest_pending_seconds{source="demo"}': f"601x{MINUTES}"},
        {'tidegate_oldest_pending_seconds{source="demo"}': f"600x{MINUTES}"},
    ),
    "TidegateBacklog": (
        {'tidegate_events_pending{source="demo"}': f"100001x{MINUTES}"},
        {'tidegate_events_pending{source="demo"}': f"100000x{MINUTES}"},
    ),
    "TidegateEventsDead": (
        {'tidegate_events_total{source="demo",outcome="dead"}': f"{BEFORE} 1 1"},
        {
            'tidegate_events_total{source="demo",outcome="dead"}': f"0x9 5x{MINUTES - 10}",
            'tidegate_events_total{source="demo",outcome="processed"}': STEADY,
        },
    ),
    "TidegateProcessorFails": (
        {'tidegate_processor_failures_total{source="demo"}': f"{BEFORE} 1 1"},
        {'tidegate_processor_failures_total{source="demo"}': f"0x9 5x{MINUTES - 10}"},
    ),
    "TidegateSendsAway": (
        requests(503, "overloaded", f"{BEFORE} 1 1") | requests(429, "overloaded", f"{BEFORE} 1 1"),
        requests(503, "", STEADY) | requests(400, "invalid_json", STEADY) | requests(429, "draining", f"0x{MINUTES}"),
    ),
    "TidegateUnauthorized": (
        requests(401, "unauthorized", STEADY),
        requests(401, "unauthorized", f"0+1x{MINUTES}") | requests(400, "invalid_json", STEADY),
    ),
    "TidegateSourceRefused": (
        {'tidegate_source_refused_total{source="demo",code="invalid_json"}': f"{BEFORE} 15 30"},
        {
            'tidegate_source_refused_total{source="demo",code="unauthorized"}': f"0+1x{MINUTES}",
            'tidegate_source_refused_total{source="demo",code="invalid_json"}': f"0x9 500x{MINUTES - 10}",
        },
    ),
    "TidegateSourceSilent": (
        {'tidegate_source_silent{source="demo"}': f"{BEFORE} 1 1"},
        {'tidegate_source_silent{source="demo"}': f"1x{MINUTES - 10} 0x9"},
    ),
    "TidegateStoreFills": (full_in(days=6.9), full_in(days=math.inf)),
    "TidegateJournalSlow": (bucket("journal", f"0+98x{MINUTES}", STEADY), bucket("journal", STEADY, STEADY)),
    "TidegateCommitSlow": (bucket("commit", f"0+98x{MINUTES}", STEADY), bucket("commit", STEADY, STEADY)),
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


def test_alerts_fire_when_they_should(tool: Path, tmp_path: Path) -> None:
    """With the series of a trouble its alert fires alone; with those of a quiet day none does."""
    cases = [case(trouble, [name]) for name, (trouble, _) in CASES.items()]
    cases += [case(quiet, []) for _, quiet in CASES.values()]
    file = tmp_path / "cases.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    done = subprocess.run([tool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
