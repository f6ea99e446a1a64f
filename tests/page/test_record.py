import json

import numpy as np
import pytest

from earlyexit.firmware import source
from earlyexit.page import record
from earlyexit.policy import decision
from earlyexit.tflite.deployment import Deployment
from tests.plots import results

EVALUATION = results.evaluation(101)


@pytest.fixture(scope="module")
def found(deployed: Deployment) -> dict[str, object]:
    images = np.zeros((101, 2, 2, 3), np.uint8)
    return record.record(EVALUATION, deployed, results.thresholds(), results.costs(), images, np.zeros(101))


def test_decisions_come_back_whole(found: dict[str, object]) -> None:
    labels, answers, margins = record.unpacked(json.loads(json.dumps(found)))
    np.testing.assert_array_equal(labels, EVALUATION.labels)
    np.testing.assert_array_equal(answers, decision.labels(EVALUATION.int8_early_exit))
    np.testing.assert_array_equal(margins, decision.margins(EVALUATION.int8_early_exit))


def test_damaged_decisions_are_refused(found: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not those of 102 images"):
        record.unpacked({**found, "n": 102})
    with pytest.raises(ValueError, match="damaged"):
        record.unpacked({**found, "labels": "x"})


def test_groups_count_every_image_once(found: dict[str, object]) -> None:
    values = np.linspace(0, 1, 101)
    rows = record.groups(EVALUATION, values, (0.0, 0.25, 0.5, 1.0))
    assert [row["n"] for row in rows] == [25, 25, 51]
    right = decision.labels(EVALUATION.int8_early_exit) == EVALUATION.labels
    for row, chosen in zip(rows, (values < 0.25, (values >= 0.25) & (values < 0.5), values >= 0.5), strict=True):
        assert [one["value"] for one in row["accuracy"]] == pytest.approx(right[:, chosen].mean(1).tolist())
    persons = record.groups(EVALUATION, values, (0.0, 2.0, 3.0), of=EVALUATION.labels == 1)
    assert [row["n"] for row in persons] == [int(EVALUATION.labels.sum())]


def test_buffers_of_the_arena_never_share_bytes_while_in_use(deployed: Deployment) -> None:
    found = record.arena(deployed)
    layout = source.lay_out(source.read(deployed.models))
    assert found["bytes"] == layout.plan.size == max(one["from"] + one["bytes"] for one in found["buffers"])
    for number, one in enumerate(found["buffers"]):
        for other in found["buffers"][:number]:
            apart = one["last"] < other["first"] or other["last"] < one["first"]
            below = one["from"] + one["bytes"] <= other["from"] or other["from"] + other["bytes"] <= one["from"]
            # An output may overwrite an input that is read for the last time while it is written.
            assert apart or below or one["last"] == other["first"] or other["last"] == one["first"]


def test_brightness_is_the_mean_pixel(deployed: Deployment) -> None:
    images = np.full((101, 2, 2, 3), 255 // 2, np.uint8)
    found = record.record(EVALUATION, deployed, results.thresholds(), results.costs(), images, np.zeros(101))
    (row,) = found["groups"]["brightness"]
    assert (row["low"], row["high"], row["n"]) == (0.4, 0.5, 101)
