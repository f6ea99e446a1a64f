from typing import Any

import pytest

from earlyexit.budget import limits, memory
from earlyexit.tflite import arena
from earlyexit.tflite.deployment import Deployment

PART = {
    "flash": {"network_constants": 2000, "network_code": 300, "kernels": 50, "total": 2350, "test_firmware": 9},
    "ram": {"arena": 1600, "state": 13, "stack": 104, "total": 1717},
}
LINKED = {"early_exit": PART, "baseline": {**PART, "ram": {**PART["ram"], "arena": 1500}}}


@pytest.fixture(scope="module")
def found(deployed: Deployment) -> dict[str, Any]:
    segments = limits.measure_all(deployed.names, deployed.models)
    return memory.report(segments, segments[-1], LINKED)


def test_report_measures_each_file(deployed: Deployment, found: dict[str, Any]) -> None:
    segments = found["early_exit"]["segments"]
    assert list(segments) == ["exit1", "exit2", "final"]
    assert [entry["flash"] for entry in segments.values()] == [len(model) for model in deployed.models]
    assert found["early_exit"]["flash"] == sum(len(model) for model in deployed.models)
    assert [entry["features"] for entry in segments.values()] == [10 * 10 * 8, 10 * 10 * 8, 0]
    assert found["early_exit"]["sram"] == max(e["arena"]["total"] + e["features"] for e in segments.values())
    first = arena.measure(deployed.models[0])
    assert segments["exit1"]["arena"] == {"head": first.head, "tail": first.tail, "total": first.total}
    assert found["baseline"]["sram"] == found["baseline"]["arena"]["total"] == segments["final"]["arena"]["total"]
    assert (found["paper"]["flash"], found["paper"]["sram"]) == (260_000, 67_000)


def tables(text: str) -> list[list[str]]:
    """The lines of each Markdown table; all of one have the same number of cells."""
    found = [[line for line in block.splitlines() if line.startswith("|")] for block in text.split("\n\n")]
    found = [lines for lines in found if lines]
    assert all(len({line.count("|") for line in lines}) == 1 for lines in found)
    return found


def test_markdown_shows_the_same_numbers(found: dict[str, Any]) -> None:
    lines, linked = tables(memory.markdown(found))
    assert linked[2] == "| early-exit network | 2,000 | 350 | 2,350 | 1,600 | 13 | 104 | 1,717 |"
    assert linked[3].startswith("| baseline | 2,000 | 350 | 2,350 | 1,500 |")
    assert len(lines) == 2 + 3 + 3
    segments = found["early_exit"]["segments"]
    for line, (name, entry) in zip(lines[2:], segments.items(), strict=False):
        cells = [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
        use = entry["arena"]
        numbers = [entry["flash"], use["head"], use["tail"], entry["features"], use["total"] + entry["features"]]
        assert name in cells[0]
        assert [int(cell) for cell in cells[1:]] == numbers
    assert f"**{found['early_exit']['sram']:,}**" in lines[5]
    assert "260,000" in lines[7]
    assert "67,000" in lines[7]
