"""The SDKs that run without a browser, unmodified, each against a server in every condition."""

import pytest

from tests.support.conditions import CONDITIONS, befallen
from tests.support.sdks import SDKS
from tests.support.senders_table import record
from tests.support.server import Children


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", SDKS)
def test_what_an_sdk_reports_is_kept(
    children: Children, request: pytest.FixtureRequest, name: str, condition: str
) -> None:
    """What the SDK reports as sent is all, and each event was processed once."""
    record(request, befallen(children, SDKS[name], condition))
