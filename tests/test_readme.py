"""The README says what the code says: the status diagrams, and every setting that can be set from outside."""

import re

import pytest

from portal.demo_processes import ROOT
from subscriptions.models import order, subscription

README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST = {"subscription": ["pending"], "order": ["placed", "awaiting_approval"]}


def diagram(name, transitions):
    """A Mermaid state diagram with one arrow for each source and target of each transition."""
    lines = ["stateDiagram-v2", *(f"    [*] --> {status}" for status in FIRST[name])]
    for transition, (sources, targets) in transitions.items():
        lines += [f"    {source} --> {target}: {transition}" for source in sources for target in targets]
    leaving = {source for sources, _ in transitions.values() for source in sources}
    final = sorted({target for _, targets in transitions.values() for target in targets} - leaving)
    return "\n".join([*lines, *(f"    {status} --> [*]" for status in final)])


@pytest.mark.parametrize(
    ("name", "transitions"), [("subscription", subscription.TRANSITIONS), ("order", order.TRANSITIONS)]
)
def test_diagram_is_the_one_made_from_the_transitions(name, transitions):
    expected = f"```mermaid\n{diagram(name, transitions)}\n```"
    assert expected in README, f"Put this into README.md:\n{expected}"


def test_every_setting_stands_in_the_table_and_no_other():
    code = "".join((ROOT / "portal" / name).read_text() for name in ("settings.py", "embedded_postgres.py"))
    settings = set(re.findall(r"env(?:\.\w+)?\(\s*\"([A-Z_]+)\"", code)) | {"DATABASE_URL", "SEATDESK_DEMO_DATA"}
    table = README.split("### Settings")[1].split("\n## ")[0].split("\n### ")[0]
    assert set(re.findall(r"^\| `([A-Z_]+)`", table, re.M)) == settings
