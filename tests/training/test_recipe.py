import pytest

from earlyexit.training.recipe import JointRecipe
from tests.tiny_training import JOINT


@pytest.mark.parametrize(
    ("w_exits", "exits", "weights"),
    [(0.3, 2, [0.3, 0.3, 0.7]), ([0.1, 0.2], 2, [0.1, 0.2, 0.7]), (0.3, 0, [1.0]), ([0.1, 0.2], 0, [1.0])],
)
def test_every_classifier_has_a_loss_weight(w_exits: float | list[float], exits: int, weights: list[float]) -> None:
    recipe = JointRecipe.model_validate({**JOINT.model_dump(), "w_exits": w_exits, "w_final": 0.7})
    assert recipe.loss_weights(exits) == weights
