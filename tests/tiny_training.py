"""Trainings of tiny networks: recipes that are changed by a few words, and one way to run the four trainers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from earlyexit.dataset import PackedSplit
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.training.distillation import Taught
from earlyexit.training.loop import Log
from earlyexit.training.recipe import AugmentRecipe, BaselineRecipe, DisjointRecipe, JointRecipe, Precision, QatRecipe
from earlyexit.training.resume import Metrics
from earlyexit.training.trainers import Session, train_baseline, train_exits, train_jointly, train_quantized
from tests import tiny_network

CPU = torch.device("cpu")
SIZE = 16
AUGMENT = AugmentRecipe(min_crop=0.6, flip=0.5, brightness=0.1, contrast=0.1)
SETTINGS: dict[str, Any] = {"epochs": 4, "batch_size": 16, "learning_rate": 0.02, "weight_decay": 0.01, "average": 0.0}
BASELINE = BaselineRecipe(**SETTINGS, distill=0, temperature=1, pretrained=None, small_epochs=0)
DISJOINT = DisjointRecipe(**SETTINGS, distill=0, temperature=1, augment=False)
JOINT = JointRecipe(**SETTINGS, distill=0, temperature=1, freeze_norm=False, w_exits=[0.3, 0.3], w_final=1)
QAT = QatRecipe(**SETTINGS, distill=0, temperature=1, rounding=True, freeze_ranges=0.5)

Stage = Literal["baseline", "disjoint", "joint", "qat"]


def network(stage: Stage) -> EarlyExitNetwork:
    """A network for the stage: without exits for the baseline, else with two; folded for quantization."""
    structure = tiny_network.architecture(resolution=SIZE)
    if stage == "baseline":
        structure = structure.model_copy(update={"exits": [], "head_channels": []})
    made = EarlyExitNetwork(structure)
    return made.fold() if stage == "qat" else made


def train(
    stage: Stage,
    network: EarlyExitNetwork,
    train: PackedSplit,
    held_out: PackedSplit,
    log: Log,
    *,
    recipe: dict[str, Any],
    weights: Sequence[float] = (0.3, 0.3, 1.0),
    augment: AugmentRecipe | None = None,
    device: torch.device = CPU,
    precision: Precision = "float32",
    unfinished: Path | None = None,
    taught: Taught | None = None,
) -> Metrics:
    """Train by the stage's recipe with the changes in `recipe`, which are not validated."""
    session = Session(train, held_out, augment, device, log, precision, unfinished, taught)
    if stage == "baseline":
        return train_baseline(network, BASELINE.model_copy(update=recipe), session)
    if stage == "disjoint":
        changes = recipe | {"augment": augment is not None}
        return train_exits(network, DISJOINT.model_copy(update=changes), session)
    if stage == "qat":
        changed = QAT.model_copy(update=recipe)
        return train_quantized(network, changed, weights, session, bits=4, per_channel=True)[2]
    changes = recipe | {"w_exits": list(weights[:-1]), "w_final": weights[-1]}
    return train_jointly(network, JOINT.model_copy(update=changes), session)
