import numpy as np
import pytest

from earlyexit.evaluation.costs import Costs
from earlyexit.params import load
from earlyexit.policy import decision
from experiments import promises
from tests import ROOT
from tests.policy.test_search import COSTS, logits_of

COST = Costs(11.0, COSTS)
PARAMS = load(ROOT / "params.yaml").policy
LOGITS, TRUTH = logits_of(1200, (0.9, 0.7, 0.5, 0.4), 2)
LOGITS = (LOGITS // 16 * 16).astype(np.int8)  # fewer levels: a fast search


def test_a_population_s_splits_break_few_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "SPLITS", 40)
    found = promises.simulate(LOGITS, TRUTH, 800, COST, PARAMS)
    assert (found["n"], found["population"], found["broken"]["n"]) == (800, 1200, 40)
    assert 0 <= found["risk"] <= PARAMS.risk
    assert found["broken"]["value"] < found["broken"]["high"]
    assert found["speedup"] > COST.speedup([0, 0, 0, 1])
    assert promises.simulate(LOGITS, TRUTH, 800, COST, PARAMS) == found


def test_cameras_are_judged_on_the_images_that_promised_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "DRAWS", 3)
    inverted = LOGITS.copy()  # The early exits contradict the final one.
    inverted[:-1] = -np.maximum(inverted[:-1], -127)
    clean, same, kept, own = promises.cameras(LOGITS, {"inverted": inverted}, TRUTH, COST, PARAMS)
    assert {key: clean[key] for key in ("risk", "broken", "n")} == {key: same[key] for key in ("risk", "broken", "n")}
    assert clean["n"] == 1200 - promises.CAMERA_IMAGES
    assert clean["accuracy"] == own["accuracy"] == np.mean(decision.labels(LOGITS[-1]) == TRUTH)
    assert kept["broken"]["value"] == 1
    assert own["broken"]["value"] == 0
    monkeypatch.setattr(promises, "SPLITS", 2)
    text = promises.markdown(promises.simulate(LOGITS, TRUTH, 600, COST, PARAMS), [clean, own], PARAMS)
    assert "| inverted | the camera |" in text
