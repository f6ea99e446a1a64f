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
    return record.record(EVALUATION, deployed, results.thresholds(), results.costs())


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
