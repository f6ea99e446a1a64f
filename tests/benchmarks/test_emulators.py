from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import emulators
from earlyexit.emulation import emulator, qemu
from earlyexit.emulation.compiler import Image, build
from earlyexit.emulation.qemu import QemuTrace
from tests.emulation import standin

NAMES = ["exit1", "exit2", "final"]


@pytest.fixture(scope="module")
def image() -> Image:
    return build(standin.SOURCES)


@pytest.fixture
def theirs(image: Image, monkeypatch: pytest.MonkeyPatch) -> QemuTrace:
    """What QEMU says: the same."""
    trace = emulator.run(image, standin.inputs(2), standin.FEATURES)
    cascade = np.array([cost.instructions for cost in trace.cascade])
    same = QemuTrace(trace.logits, trace.outcomes, trace.instructions, cascade)
    monkeypatch.setattr(qemu, "run", lambda image, inputs: same)
    return same


def test_prints_both(image: Image, theirs: QemuTrace) -> None:
    rows = emulators.compare(image, standin.inputs(2), NAMES, standin.FEATURES).splitlines()
    count = f"{theirs.instructions[0, 0]:,}"
    assert rows[2] == f"| exit1 | {count} | {count} | 0.000 % |"
    assert len(rows) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instructions": 10_000 + np.zeros((3, 2), np.int64)}, "exit1: .* instructions on unicorn, 10,000 on QEMU"),
        ({"logits": np.zeros((3, 2, 2), np.int8)}, "answers otherwise"),
        ({"outcomes": []}, "answers otherwise"),
    ],
)
def test_differences_are_named(
    image: Image, theirs: QemuTrace, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(qemu, "run", lambda image, inputs: replace(theirs, **change))
    with pytest.raises(ValueError, match=message):
        emulators.compare(image, standin.inputs(2), NAMES, standin.FEATURES)


def test_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"manifest\.json"):
        emulators.main()
