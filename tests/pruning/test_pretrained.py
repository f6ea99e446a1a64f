"""Exact pruning of MLPerf Tiny's reference network for Visual Wake Words."""

from pathlib import Path

import numpy as np
import pytest
import torch

from earlyexit.budget import design
from earlyexit.model.architecture import Architecture
from earlyexit.model.inference import predict
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.model.pretrained import load_pretrained
from earlyexit.params import load
from earlyexit.policy import decision
from earlyexit.pruning.exact import prune
from earlyexit.quantization.deploy import deploy_network
from earlyexit.tflite.segment import all_logits
from tests import ROOT, tiny_network
from tests.model.test_network import PHOTOS, PRETRAINED, photographs

pytestmark = pytest.mark.skipif(not PRETRAINED.is_file(), reason="needs ../shared/pretrained")


def reference() -> EarlyExitNetwork:
    table = load(ROOT / "params.yaml").model.mobilenet_v1
    network = EarlyExitNetwork(Architecture(backbone=table, resolution=96))
    load_pretrained(network, Path(PRETRAINED))
    return network.eval()


def test_more_than_half_of_its_channels_go_and_the_answers_stay() -> None:
    network = reference()
    smaller, groups = prune(network, 4)
    assert sum(group.removed for group in groups) == 876
    small = design.survey(smaller.architecture).baseline
    assert (small.macs, small.weights, small.footprint.flash) == (4_011_672, 39_710, 65_664)
    images = tiny_network.images(100, 96)
    before, after = (predict(one, images, torch.device("cpu")) for one in (network, smaller))
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=2e-6)
    assert (after.argmax(-1) == before.argmax(-1)).all()


def test_every_bit_is_the_same_up_to_the_first_constant_that_moves_into_a_bias() -> None:
    network = reference()
    smaller, groups = prune(network, 4)
    kept = {group.name: group.kept for group in groups}
    x = y = network.normalize(torch.from_numpy(tiny_network.images(50, 96)))
    with torch.no_grad():
        for name in list(network.blocks)[:12]:
            x, y = network.blocks[name](x), smaller.blocks[name](y)
            assert torch.equal(x[:, kept[name]], y), name


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs ../shared/photos")
def test_in_int8_it_is_small_and_answers_as_before() -> None:
    network = reference()
    smaller, _ = prune(network, 4)
    images, labels = photographs(100)
    found = []
    for one in (network, smaller):
        deployed = deploy_network(one, images[:40], "litert")
        answers = decision.labels(all_logits(deployed.segments(), deployed.quantize(images))[0])
        found.append((deployed, answers))
    (before, was), (after, now) = found
    assert sum(after.macs) <= 4.25e6 < sum(before.macs)
    assert len(after.models[0]) <= 90_000 < len(before.models[0])
    assert (was == now).mean() >= 0.99
    assert (now == labels).mean() >= (was == labels).mean() - 0.01
