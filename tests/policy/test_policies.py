from pathlib import Path

import numpy as np
import pytest

from earlyexit.common.files import write_json
from earlyexit.policy import calibration, decision
from earlyexit.policy.calibration import Calibration
from earlyexit.policy.policies import Policies, choose, load_policies
from earlyexit.policy.search import NEVER
from earlyexit.policy.thresholds import calibrate
from tests.policy.test_search import COSTS, logits_of

LOGITS, TRUTH = logits_of(900, (0.9, 0.7, 0.5, 0.4), 5)
TABLE = calibrate(decision.margins(LOGITS), [50, 95], ["exit1", "exit2", "exit3", "final"], [0.1] * 4)


def chosen(truth: np.ndarray | None = TRUTH, n: int = 900, risk: float = 0.02) -> Policies:
    images = Calibration(LOGITS[:, :n], None if truth is None else truth[:n], "drawn images")
    return choose(
        images,
        TABLE,
        COSTS,
        "macs",
        searched={"searched_0": 0, "searched_0.005": 0.005, "searched_0.02": 0.02},
        risk=risk,
        delta=0.1,
        patient={f"patience{k}": k for k in (2, 3, 4, 5)},
    )


def test_there_is_a_policy_for_every_param() -> None:
    found = chosen()
    names = ["p50", "p95", "searched_0", "searched_0.005", "searched_0.02", "guaranteed"]
    assert [policy.name for policy in found.policies] == [*names, "patience2", "patience3", "patience4"]
    assert found.named("p95").thresholds == TABLE.margins[95]
    assert found.named("patience3").thresholds == [NEVER] * 3
    assert found.named("guaranteed").promise
    with pytest.raises(
        ValueError, match=r"firmware.policy: no policy p60; there are p50, p95, searched_0, searched_0.005"
    ):
        found.named("p60")


@pytest.mark.parametrize("truth", [TRUTH, None])
def test_policies_hold_what_they_do_on_the_calibration_images(truth: np.ndarray | None) -> None:
    found = chosen(truth)
    whole = decision.labels(LOGITS[-1])
    expected = whole if truth is None else truth
    for policy in found.policies:
        decided = decision.decide(LOGITS, policy.thresholds, policy.patience)
        wrong = decided.labels != expected
        assert policy.loss == pytest.approx(wrong.mean() - (whole != expected).mean())
        assert policy.risk == pytest.approx((wrong & (whole == expected)).mean())
        assert policy.cost == pytest.approx(np.take(COSTS, decided.exits).mean())
    for loss in (0, 0.005, 0.02):
        assert found.named(f"searched_{loss:g}").loss <= loss + 1e-12
    costs = [found.named(name).cost for name in ("searched_0", "searched_0.005", "searched_0.02")]
    assert costs == sorted(costs, reverse=True)
    assert found.labelled == (truth is not None)
    assert found.path[0].cost > found.path[-1].cost


def test_what_cannot_be_promised_says_how_many_images_would_do() -> None:
    found = chosen(n=100).named("guaranteed")
    assert found.thresholds == [NEVER] * 3
    assert found.promise is None
    assert found.note == (
        "No image leaves early: a risk of 0.02 with delta 0.1 needs at least 228 calibration images, there are 100."
    )


def test_images_that_cannot_leave_are_refused() -> None:
    images = Calibration(np.zeros((4, 30, 2), np.int8), None, "drawn images")
    with pytest.raises(ValueError, match=r"none of the 30 images of drawn images can leave early: .*disjoint.epochs"):
        choose(images, TABLE, COSTS, "macs", searched={}, risk=0.1, delta=0.1, patient={})


def test_the_file_holds_everything(tmp_path: Path) -> None:
    path = tmp_path / "policies.json"
    write_json(path, chosen().model_dump())
    assert load_policies(path) == chosen()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "policies.json"
    content = chosen().model_dump()
    content["policies"][1]["thresholds"] = [1, 2]
    write_json(path, content)
    with pytest.raises(ValueError, match=r"policies.json: not a file of policies: .*one threshold for each early exit"):
        load_policies(path)
    content["policies"][1]["thresholds"] = [1, 2, 256]
    write_json(path, content)
    with pytest.raises(ValueError, match=r"policies\[1\].thresholds\[2\]: .*rerun the policy stage"):
        load_policies(path)


def test_calibration_logits_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "calibration.safetensors"
    calibration.save(path, LOGITS, TRUTH)
    found = calibration.load(path)
    np.testing.assert_array_equal(found.logits, LOGITS)
    np.testing.assert_array_equal(found.truth, TRUTH)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"calibration.safetensors: not a file of calibration logits"):
        calibration.load(path)
