import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from earlyexit.evaluation.statistics import share
from earlyexit.policy import decision
from earlyexit.reports import failures
from tests.plots import results

N = 200
EVALUATION, POLICIES = results.evaluation(N), results.policies()
SHOWN = [POLICIES.named("p50"), POLICIES.named("guaranteed")]
SIZES = np.where(EVALUATION.labels == 1, np.linspace(0.003, 0.6, N), 0)
LUMAS = np.linspace(0.1, 0.9, N)
FOUND = failures.report(EVALUATION, results.names(3), SHOWN, SIZES, LUMAS)


def test_accuracy_and_exits_of_each_bin_are_counted_image_by_image() -> None:
    bins = {"size": failures.by_size(SIZES), "brightness": failures.by_brightness(LUMAS)}
    for kind, named in bins.items():
        filled = [(name, chosen) for name, chosen in named if chosen.any()]
        for (name, chosen), row in zip(filled, FOUND[kind], strict=True):
            images = np.flatnonzero(chosen)
            assert (row["bin"], row["n"]) == (name, len(images))
            for logits, found in zip(EVALUATION.int8_early_exit, row["accuracy"], strict=True):
                right = [int(logits[i, 1] > logits[i, 0]) == EVALUATION.labels[i] for i in images]
                assert found == vars(share(np.array(right)))
            for policy in SHOWN:
                decided = decision.decide(EVALUATION.int8_early_exit, policy.thresholds, policy.patience)
                entry = row["cascades"][policy.name]
                shares = [float(np.mean(decided.exits[images] == number)) for number in range(4)]
                assert entry["exit_share"] == pytest.approx(shares)
                assert entry["early_exit_rate"]["value"] == pytest.approx(1 - shares[-1])
                assert entry["accuracy"]["value"] == np.mean(decided.labels[images] == EVALUATION.labels[images])
    assert json.loads(json.dumps(FOUND, allow_nan=False)) == FOUND


@given(arrays(np.float64, st.integers(1, 60), elements=st.one_of(st.just(0.0), st.floats(0, 1))))
def test_each_image_is_in_one_bin(values: np.ndarray) -> None:
    for named in (failures.by_size(values), failures.by_brightness(values)):
        assert (np.sum([chosen for _, chosen in named], axis=0) == 1).all()


def test_bins_of_size_hold_their_lower_edge() -> None:
    values = np.array([0, 1e-9, 0.005, 0.0099, 0.01, 0.2, 0.5, 1])
    assert {name: values[chosen].tolist() for name, chosen in failures.by_size(values) if chosen.any()} == {
        "none": [0],
        "0 to 0.5 %": [1e-9],
        "0.5 to 1 %": [0.005, 0.0099],
        "1 to 2 %": [0.01],
        "20 to 50 %": [0.2],
        "50 to 100 %": [0.5, 1],
    }


def test_bins_of_brightness_have_equal_counts() -> None:
    assert [chosen.sum() for _, chosen in failures.by_brightness(LUMAS)] == [N // 5] * 5
    assert [chosen.sum() for _, chosen in failures.by_brightness(np.full(7, 0.5))] == [0, 0, 0, 0, 7]


def test_mean_luma_is_that_of_bt_601() -> None:
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[0, ..., 1] = 255
    images[1, :2] = 255
    assert failures.mean_lumas(images) == pytest.approx([0.587, 0.5])


def test_person_shares_are_those_of_val(tmp_path: Path) -> None:
    lines = ["id,split,label,person_share", "3,train,1,0.9", "3,val,1,0.25", "5,val,0,0.0"]
    (tmp_path / "index.csv").write_text("\n".join(lines))
    assert failures.person_shares(tmp_path, np.array([3, 5])).tolist() == [0.25, 0]


def test_markdown_has_a_row_for_each_bin() -> None:
    rows = [line for line in failures.markdown(FOUND).splitlines() if line.startswith("|")]
    assert len(rows) == 2 * 2 + len(FOUND["size"]) + len(FOUND["brightness"])
    assert "| none | 100 |" in rows[2]
    assert "guaranteed: exits 1/2/3/final (%)" in rows[0]
