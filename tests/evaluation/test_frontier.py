import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.evaluation.costs import Costs
from earlyexit.evaluation.frontier import point


@given(seed=st.integers(0, 2**32 - 1), classifiers=st.integers(1, 4), n=st.integers(1, 40), data=st.data())
def test_is_the_cascade_image_by_image(seed: int, classifiers: int, n: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.integers(-128, 128, (classifiers, n, 2), dtype=np.int8)
    labels = rng.integers(0, 2, n)
    macs = rng.integers(1, 10**7, classifiers).tolist()
    times = rng.uniform(1, 500, classifiers).tolist()
    thresholds = [data.draw(st.integers(-1, 255)) for _ in range(classifiers - 1)]

    right, work, time, exits = 0, 0, 0.0, [0] * classifiers
    for i in range(n):
        for k in range(classifiers):
            work += macs[k]
            time += times[k]
            a, b = int(logits[k, i, 0]), int(logits[k, i, 1])
            if k == classifiers - 1 or abs(b - a) > thresholds[k]:
                exits[k] += 1
                right += int(b > a) == labels[i]
                break

    found = point(logits, labels, thresholds)
    until = {name: Costs(1, np.cumsum(each).tolist()) for name, each in {"macs": macs, "time": times}.items()}
    assert found.accuracy.value == pytest.approx(right / n)
    assert found.accuracy.n == n
    assert found.exit_share == pytest.approx([count / n for count in exits])
    assert found.early_exit_rate == pytest.approx(sum(exits[:-1]) / n)
    assert until["macs"].mean(found.exit_share) == pytest.approx(work / n)
    assert until["time"].mean(found.exit_share) == pytest.approx(time / n)


def test_thresholds_that_nothing_exceeds_cost_all_segments() -> None:
    logits = np.zeros((3, 5, 2), np.int8)
    found = point(logits, np.zeros(5, np.int64), [255, 255])
    assert found.early_exit_rate == 0
    assert Costs(120, [10, 30, 60]).speedup(found.exit_share) == 2
