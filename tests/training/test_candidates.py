from typing import get_args

import numpy as np
import pytest
import torch

from earlyexit.dataset import PackedSplit
from earlyexit.model.architecture import Head
from earlyexit.model.candidates import Candidates
from earlyexit.model.inference import predict
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.training import candidates
from earlyexit.training.candidates import train_candidates
from tests import tiny_network
from tests.tiny_network import FAMILIES, Family, dark_and_bright
from tests.tiny_training import CPU, DISJOINT, SIZE

TRAIN, HELD_OUT = dark_and_bright(96, SIZE), dark_and_bright(40, SIZE, seed=1)
HEADS = get_args(Head)


def baseline(family: Family = "mobilenet_v2") -> EarlyExitNetwork:
    return tiny_network.network(tiny_network.architecture(family, exits=[], head_channels=[], resolution=SIZE))


def trained(network: EarlyExitNetwork, train: PackedSplit = TRAIN, images: int = 1000, **recipe: float) -> Candidates:
    torch.manual_seed(1)
    settings = DISJOINT.model_copy(update=recipe)
    return train_candidates(network, HEADS, 8, settings, train, HELD_OUT, images=images, device=CPU)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_candidate_learns_and_the_baseline_stays(family: Family) -> None:
    network = baseline(family)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    expected = predict(network, HELD_OUT.images, CPU)[-1]
    found = trained(network, epochs=15)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert np.array_equal(found.final, expected)
    assert np.array_equal(found.labels, HELD_OUT.labels)
    assert found.logits.keys() == set(HEADS)
    for logits in found.logits.values():
        assert logits.shape == (len(network.architecture.exit_blocks), 40, 2)
        assert (logits.argmax(2) == HELD_OUT.labels).mean(1).max() > 0.9


def test_the_same_seed_gives_the_same_logits() -> None:
    one, two = (trained(baseline(), epochs=1) for _ in range(2))
    assert all(np.array_equal(one.logits[head], two.logits[head]) for head in HEADS)


def test_a_candidate_reads_the_features_behind_its_block() -> None:
    network = baseline()
    with torch.no_grad():
        x = network.normalize(torch.from_numpy(HELD_OUT.images))
        x = network.blocks["stem"](x)
        for name, features in candidates._by_block(network, HELD_OUT.images, CPU):
            x = network.blocks[name](x)
            torch.testing.assert_close(features, x)


def test_distilled_candidates_follow_the_final_classifier_against_the_labels() -> None:
    network = baseline()
    answers = predict(network, TRAIN.images, CPU)[-1].argmax(1)
    lies = PackedSplit(TRAIN.images, 1 - answers, TRAIN.ids)
    agreement = [
        (found.logits["separable"][-1].argmax(1) == found.final.argmax(1)).mean()
        for found in (trained(network, lies, epochs=15, distill=share) for share in (0.0, 1.0))
    ]
    assert agreement[0] < 0.5 < 0.8 < agreement[1]


def test_a_limit_on_images_takes_some_that_are_spread_over_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(network: EarlyExitNetwork, images: np.ndarray, device: torch.device) -> np.ndarray:
        seen.append(images)
        return predict(network, images, device)

    monkeypatch.setattr(candidates, "predict", record)
    trained(baseline(), images=4, epochs=1)
    assert np.array_equal(seen[0], TRAIN.images[[0, 32, 63, 95]])


def test_features_that_do_not_fit_are_refused_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(candidates, "fits_in_memory", lambda size, device: asked.append(size))
    with pytest.raises(ValueError, match=r"^placement.images: features of 136 images take [\d,]+ bytes"):
        trained(baseline())
    # The stem's 8 x 8 x 8 and block1's 4 x 4 x 8.
    assert asked == [136 * 4 * (8 * 8 * 8 + 4 * 4 * 8)]
