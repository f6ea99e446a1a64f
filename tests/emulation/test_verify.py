from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from earlyexit.emulation import library
from earlyexit.emulation.compiler import build
from earlyexit.emulation.verify import choose_images, verify
from earlyexit.evaluation.costs import Costs
from earlyexit.policy import decision
from tests.emulation import standin
from tests.policies import policy

INPUTS = standin.inputs(12)
MARGINS = decision.margins(standin.logits(INPUTS))
POLICIES = [
    policy(standin.THRESHOLDS, name="own"),
    policy([int(MARGINS[0, 0]), int(MARGINS[1, 1])], name="equal"),
    policy([255, 255], 2, name="patience2"),
]


@pytest.fixture(scope="module")
def cycles() -> Costs:
    trace = library.run(build(standin.SOURCES), INPUTS, standin.FEATURES)
    return Costs(1.0, np.cumsum(trace.cycles.mean(1)).tolist())


def changed(before: str, after: str) -> dict[str, str]:
    assert before in standin.SOURCE
    return {**standin.SOURCES, "ee.c": standin.SOURCE.replace(before, after)}


def check(files: dict[str, str], cycles: Costs, **changes: Any) -> dict[str, Any]:
    # So short a network's cycles depend on the pixels, and its decisions weigh.
    return verify(files, INPUTS, POLICIES, "own", Costs(1.0, [10 * cost for cost in cycles.until]), **changes)


@pytest.fixture(autouse=True)
def tolerant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earlyexit.emulation.verify.TOLERANCE", 0.95)


def test_counts_exits_and_cycles_of_every_policy(cycles: Costs) -> None:
    found = check(standin.SOURCES, cycles)
    assert (found["images"], found["decisions"], found["built_in"]) == (12, 36, "own")
    assert list(found["policies"]) == ["own", "equal", "patience2"]
    logits = standin.logits(INPUTS)
    for one in POLICIES:
        entry = found["policies"][one.name]
        exits = decision.decide(logits, one.thresholds, one.patience).exits
        assert entry["exits"] == np.bincount(exits, minlength=3).tolist()
        assert entry["cycles_computed"] == pytest.approx(
            np.mean([10 * cycles.until[leaves] for leaves in exits]), abs=1
        )
        assert entry["cycles"] == pytest.approx(entry["cycles_computed"] / 10, rel=0.2)


def test_one_image_is_enough(cycles: Costs) -> None:
    found = verify(standin.SOURCES, INPUTS[:1], POLICIES, "own", cycles)
    assert [sum(entry["exits"]) for entry in found["policies"].values()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "thresholds[1] = 20;",
            "thresholds[1] = 21;",
            r"starts with thresholds \[40, 21\] and patience 0, the policy own",
        ),
        ("patience = 0;", "patience = 2;", r"starts with thresholds \[40, 20\] and patience 2"),
        ("result->margin > thresholds", "result->margin >= thresholds", "equal: .* decisions of ee_run differ"),
        (
            "agreeing + 1 : 1",
            "agreeing + 1 : 2",
            "patience2: .* of 12 decisions of ee_run differ from the policy's, first",
        ),
        ("result->exit = (uint8_t)segment", "result->exit = 2", "own: .* leaves at classifier 3 with label"),
        ("result->label = margin > 0;", "result->label = margin < 0;", "own: 12 of 12 decisions"),
        ("margin < 0 ? -margin : margin", "margin", "own: .* decisions of ee_run differ"),
    ],
)
def test_a_library_that_decides_otherwise_is_noticed(cycles: Costs, before: str, after: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(changed(before, after), cycles)


def test_cycles_that_are_not_those_of_the_segments_are_noticed(cycles: Costs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earlyexit.emulation.verify.TOLERANCE", 0.5)
    with pytest.raises(ValueError, match=r"own: ee_run takes .* cycles, its segments .*: more than 50\.0% apart"):
        check(standin.SOURCES, cycles)


@given(arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 30)), elements=st.integers(0, 3)), st.data())
def test_images_of_every_exit_are_chosen_where_there_is_room(exits: np.ndarray, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, exits.shape[1]))
    rows = choose_images(exits, count)
    assert len(rows) == count
    assert (np.diff(rows) > 0).all()
    assert rows[0] >= 0 and rows[-1] < exits.shape[1]
    if count >= sum(len(set(row)) for row in exits.tolist()):
        assert all(set(row[rows]) == set(row) for row in exits)


def test_images_are_spread_where_all_leave_at_one_exit() -> None:
    assert choose_images(np.zeros((2, 101), np.int64), 5).tolist() == [0, 25, 50, 75, 100]
