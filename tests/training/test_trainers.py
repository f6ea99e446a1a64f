import copy
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from earlyexit.dataset import PackedSplit
from earlyexit.model.inference import predict, prepare_torch
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.training import loop, trainers
from earlyexit.training.batches import Batch
from earlyexit.training.distillation import Taught, distillation
from earlyexit.training.loop import fit
from earlyexit.training.recipe import AugmentRecipe
from tests import tiny_network, tiny_training
from tests.tiny_network import FAMILIES, Family, dark_and_bright
from tests.tiny_training import AUGMENT, BASELINE, CPU, DISJOINT, SIZE, Stage, train

TRAIN = dark_and_bright(65, SIZE)  # one more than full batches
HELD_OUT = dark_and_bright(20, SIZE, seed=1)
Logged = list[tuple[int, dict[str, float]]]


def fresh(family: Family = "mobilenet_v2", seed: int = 0) -> EarlyExitNetwork:
    prepare_torch(seed, 1, "cpu")
    return EarlyExitNetwork(tiny_network.architecture(family, resolution=SIZE))


def settled() -> EarlyExitNetwork:
    return tiny_network.network(tiny_network.architecture(resolution=SIZE))


def run(stage: Stage, network: EarlyExitNetwork, **changes: Any) -> tuple[dict[str, float], Logged]:
    logged: Logged = []
    arguments: dict[str, Any] = {"train": TRAIN, "held_out": HELD_OUT, "recipe": {}} | changes
    return train(stage, network, log=lambda epoch, metrics: logged.append((epoch, metrics)), **arguments), logged


def jointly(network: EarlyExitNetwork, **changes: Any) -> tuple[dict[str, float], Logged]:
    return run("joint", network, **changes)


def exits_only(network: EarlyExitNetwork, **changes: Any) -> tuple[dict[str, float], Logged]:
    return run("disjoint", network, **changes)


def state(network: EarlyExitNetwork) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}


def digest(network: EarlyExitNetwork) -> str:
    return hashlib.sha256(to_bytes({k: v.contiguous() for k, v in network.state_dict().items()})).hexdigest()


@pytest.mark.parametrize("family", FAMILIES)
def test_joint_training_learns_dark_from_bright(family: Family) -> None:
    network = fresh(family)
    metrics, logged = jointly(
        network, recipe={"epochs": 12, "batch_size": 16, "learning_rate": 0.02, "weight_decay": 0.01}
    )
    unseen = dark_and_bright(40, SIZE, seed=2)
    logits = predict(network, unseen.images, CPU)
    assert ((logits.argmax(2) == unseen.labels).mean(1) > 0.9).all()
    assert [epoch for epoch, _ in logged] == list(range(1, 13))
    assert logged[-1][1] == metrics
    assert logged[-1][1]["train/loss"] < logged[0][1]["train/loss"]


def test_every_epoch_logs_every_classifier() -> None:
    for run, names in ((jointly, ["exit1", "exit2", "final"]), (exits_only, ["exit1", "exit2"])):
        _, logged = run(settled(), recipe={"epochs": 2, "batch_size": 16, "learning_rate": 0.01, "weight_decay": 0})
        expected = {"train/loss"} | {f"{split}/{name}" for split in ("train", "calibration") for name in names}
        assert all(metrics.keys() == expected for _, metrics in logged)
        assert all(0 <= value <= 1 for _, metrics in logged for key, value in metrics.items() if key != "train/loss")


def test_the_logged_accuracy_is_that_of_the_trained_network() -> None:
    for run in (jointly, exits_only):
        network = settled()
        metrics, _ = run(network)
        shares = (predict(network, HELD_OUT.images, CPU).argmax(2) == HELD_OUT.labels).mean(1)
        for name, share in zip(network.architecture.outputs, shares, strict=True):
            assert metrics.get(f"calibration/{name}", share) == share


class One(nn.Module):
    """A layer as a network of one classifier."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.layer(x)]


class Given(list[Batch]):
    """The same batches every epoch."""

    def epoch(self, number: int) -> Iterator[Batch]:
        return iter(self)


def test_the_logged_loss_and_accuracy_are_means_over_images_not_batches() -> None:
    layer = nn.Linear(1, 2, bias=False)
    nn.init.ones_(layer.weight)
    layer.weight.data[1] = 0.5
    x = torch.tensor([[1.0], [2.0], [-1.0], [0.5], [-3.0]])
    labels = torch.tensor([0, 0, 0, 1, 1])
    with torch.no_grad():
        expected = float(nn.functional.cross_entropy(layer(x), labels))
    metrics = fit(
        One(layer),
        Given([Batch(x[:3], labels[:3], 3), Batch(x[3:], labels[3:], 2)]),
        BASELINE.model_copy(update={"epochs": 1, "batch_size": 3, "learning_rate": 1e-12, "weight_decay": 0}),
        [1.0],
        names=["final"],
        monitor=lambda: {"calibration/final": 0.25},
        log=lambda *_: None,
        title="baseline",
        device=CPU,
    )
    assert metrics["train/loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics["train/final"] == 3 / 5
    assert metrics["calibration/final"] == 0.25


@pytest.mark.parametrize("run", [jointly, exits_only])
@pytest.mark.parametrize("augment", [None, AUGMENT], ids=["plain", "augmented"])
def test_same_seed_same_bytes(run: Any, augment: AugmentRecipe | None) -> None:
    found = []
    for seed in (0, 0, 1):
        network = fresh(seed=seed)
        run(
            network,
            recipe={"epochs": 1, "batch_size": 16, "learning_rate": 0.01, "weight_decay": 0.01},
            augment=augment,
        )
        found.append(digest(network))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("run", [jointly, exits_only])
def test_held_out_images_never_touch_the_weights(run: Any) -> None:
    other = PackedSplit(tiny_network.images(7, SIZE), np.ones(7, np.int64), np.arange(7))
    found = []
    for held_out in (HELD_OUT, other):
        network = fresh()
        run(network, held_out=held_out)
        found.append(digest(network))
    assert found[0] == found[1]


@pytest.mark.parametrize("augment", [None, AUGMENT], ids=["cached", "uncached"])
def test_disjoint_training_leaves_the_backbone_alone(augment: AugmentRecipe | None) -> None:
    network = settled()
    before = state(network)
    metrics, _ = exits_only(network, augment=augment)
    after = state(network)
    assert all(after[name] == before[name] for name in before if not name.startswith("exits."))
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {name for name in before if name.startswith("exits.")}
    assert all(parameter.grad is None for parameter in network.blocks.parameters())
    assert metrics["calibration/exit1"] > 0.8


def test_joint_training_changes_all() -> None:
    network = settled()
    before = state(network)
    jointly(network)
    assert all(value != before[name] for name, value in state(network).items())


def test_a_classifier_of_weight_0_is_not_trained() -> None:
    network = settled()
    before = state(network)
    jointly(network, weights=[0.0, 0.3, 1.0])
    parameters = {name for name, _ in network.exits[0].named_parameters(prefix="exits.0")}
    after = state(network)
    assert all(after[name] == before[name] for name in parameters)
    assert after["exits.1.linear.weight"] != before["exits.1.linear.weight"]


def test_features_computed_once_train_as_features_computed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    start, calls = settled(), []
    cached, anew = copy.deepcopy(start), copy.deepcopy(start)
    for network, fits in ((cached, True), (anew, False)):
        monkeypatch.setattr(trainers, "_fits", lambda *_, fits=fits: fits)
        network.blocks["stem"].register_forward_hook(lambda *_: calls.append(1))
        torch.manual_seed(0)
        exits_only(network)
        calls.append(0)
    split = calls.index(0)
    assert split < len(calls) - split  # once, against once an epoch
    for name, value in cached.state_dict().items():
        torch.testing.assert_close(value, anew.state_dict()[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("run", "section"), [(jointly, "joint"), (exits_only, "disjoint")])
def test_a_loss_that_is_not_finite(run: Any, section: str) -> None:
    message = rf"^{section}: the loss is not finite in epoch 1, batch 2 of 4, at rate 3e\+38; "
    with pytest.raises(ValueError, match=message + rf"lower {section}\.learning_rate$"):
        run(settled(), recipe={"epochs": 1, "batch_size": 16, "learning_rate": 3e38, "weight_decay": 0})


@pytest.mark.parametrize("run", [jointly, exits_only])
def test_weights_that_are_not_finite_after_the_last_step(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = settled()
    step = loop.Step.__call__

    def broken(self: Any, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        found = step(self, batch, rate)
        network.get_parameter("exits.0.linear.weight").data[0, 0] = torch.nan
        return found[0] * 0, found[1]

    monkeypatch.setattr(loop.Step, "__call__", broken)
    with pytest.raises(ValueError, match=r"NaN or infinite weights after epoch 1: exits\.0\.linear\.weight; lower"):
        run(network, train=dark_and_bright(16, SIZE))


@pytest.mark.parametrize("run", [jointly, exits_only])
def test_the_last_epoch_before_the_loss_broke_is_kept(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    step = loop.Step.__call__
    calls: list[int] = []

    def breaking(self: Any, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        calls.append(1)
        loss, right = step(self, batch, rate)
        return loss * (torch.inf if len(calls) > 9 else 1), right

    monkeypatch.setattr(loop.Step, "__call__", breaking)
    kept = re.escape(f"; epoch 2 is kept in {tmp_path}, and reused only if no param changes")
    with pytest.raises(ValueError, match=rf"in epoch 3, batch 2 of 4, at rate .*learning_rate{kept}$"):
        run(fresh(), unfinished=tmp_path)
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / "epoch2.safetensors").values())


@pytest.mark.parametrize("run", [jointly, exits_only])
@pytest.mark.parametrize("augment", [None, AUGMENT], ids=["plain", "augmented"])
def test_bfloat16_learns_with_weights_in_float32(run: Any, augment: AugmentRecipe | None) -> None:
    network, exact = fresh(), fresh()
    recipe = {"epochs": 12, "batch_size": 16, "learning_rate": 0.02, "weight_decay": 0.01, "distill": 0.1}
    metrics, _ = run(network, recipe=recipe, augment=augment, precision="bfloat16")
    run(exact, recipe=recipe, augment=augment)
    assert metrics["calibration/exit1"] > 0.9
    assert all(value.dtype == torch.float32 for value in network.parameters())
    assert digest(network) != digest(exact)


@pytest.mark.parametrize("run", [jointly, exits_only])
def test_float16_needs_a_gpu(run: Any) -> None:
    network = settled()
    with pytest.raises(ValueError, match=r"^train\.precision: float16 needs a CUDA device, not cpu; use bfloat16"):
        run(network, precision="float16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("run", [jointly, exits_only])
def test_nothing_in_an_epoch_waits_for_the_gpu(run: Any, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step, check = loop.Step.__call__, loop.check_finite

    def from_the_first_step(self: Any, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        torch.cuda.set_sync_debug_mode("error")
        return step(self, batch, rate)

    def to_the_last(*args: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")
        check(*args)

    monkeypatch.setattr(loop.Step, "__call__", from_the_first_step)
    monkeypatch.setattr(loop, "check_finite", to_the_last)
    metrics, _ = run(fresh(), device=torch.device("cuda"), augment=AUGMENT, precision=precision)
    assert np.isfinite(metrics["train/loss"])


def test_weights_for_another_number_of_classifiers() -> None:
    with pytest.raises(ValueError, match="2 loss weights for 3 classifiers"):
        jointly(settled(), weights=[0.5, 0.5])


def test_a_single_step_is_enough_for_the_schedule() -> None:
    metrics, logged = jointly(
        settled(),
        train=dark_and_bright(8, SIZE),
        recipe={"epochs": 1, "batch_size": 16, "learning_rate": 0.01, "weight_decay": 0},
    )
    assert len(logged) == 1
    assert np.isfinite(metrics["train/loss"])


def answers(network: EarlyExitNetwork) -> np.ndarray:
    return predict(network, dark_and_bright(64, SIZE, seed=3).images, CPU)


@pytest.mark.parametrize("run", [jointly, exits_only])
@pytest.mark.parametrize("augment", [None, AUGMENT], ids=["plain", "augmented"])
def test_distilled_exits_follow_the_final_classifier_against_the_labels(
    run: Any, augment: AugmentRecipe | None
) -> None:
    network = settled()
    jointly(network, recipe={"epochs": 8, "batch_size": 16, "learning_rate": 0.02, "weight_decay": 0.01})
    lies = PackedSplit(TRAIN.images, 1 - TRAIN.labels, TRAIN.ids)
    recipe = {
        "epochs": 6,
        "batch_size": 16,
        "learning_rate": 0.01,
        "weight_decay": 0,
        "distill": 1.0,
        "temperature": 2.0,
    }
    run(network, train=lies, recipe=recipe, augment=augment)
    truth = dark_and_bright(64, SIZE, seed=3).labels
    assert ((answers(network).argmax(2) == truth).mean(1) > 0.9).all()


@pytest.mark.parametrize("stage", ["baseline", "disjoint", "joint"])
def test_all_three_follow_a_given_teacher_against_the_labels(stage: Stage) -> None:
    network = tiny_training.network("baseline") if stage == "baseline" else settled()
    if stage == "disjoint":  # its features come from a backbone that has learned
        run("joint", network, recipe={"epochs": 8, "learning_rate": 0.02})
    lying = np.where(TRAIN.labels, -4, 4).astype(np.float32)
    recipe = {"epochs": 20, "learning_rate": 0.03, "distill": 1.0}
    run(stage, network, recipe=recipe, taught=Taught(lying, 1.0))
    truth = dark_and_bright(64, SIZE, seed=3).labels
    followed = (answers(network).argmax(2) != truth).mean(1)
    taught = followed[:-1] if stage == "disjoint" else followed
    assert (taught > 0.9).all(), followed


def test_two_teachers_share_what_is_distilled() -> None:
    recipe = DISJOINT.model_copy(update={"distill": 0.8, "temperature": 3.0})
    images, own = torch.zeros(2, 1), torch.tensor([[1.0, -1.0], [2.0, 0.0]])
    taught = Taught(np.array([0.5, -2.0], np.float32), 0.25)
    batch = Batch(images, torch.tensor([0, 1]), 2, taught.logits(CPU))
    both = distillation(recipe, taught, lambda batch: own)
    assert both is not None and both.temperature == 3
    (first, given), (second, classifier) = both.taught(batch)
    assert (first, second) == pytest.approx((0.2, 0.6))
    assert torch.equal(given, torch.tensor([[0.0, 0.5], [0.0, -2.0]])) and torch.equal(classifier, own)
    alone = distillation(recipe, taught)
    assert alone is not None and [share for share, _ in alone.teachers] == [0.8]
    assert distillation(recipe, None) is None
    assert distillation(DISJOINT.model_copy(update={"distill": 0}), taught, lambda batch: own) is None


def test_the_teacher_of_joint_training_is_the_network_from_before() -> None:
    network = settled()
    jointly(network, recipe={"epochs": 8, "batch_size": 16, "learning_rate": 0.02, "weight_decay": 0.01})
    before = answers(network)[-1]
    jointly(network, recipe={"epochs": 3, "batch_size": 16, "learning_rate": 0.01, "weight_decay": 0, "distill": 1.0})
    taught = answers(network)[-1]
    assert not np.array_equal(taught, before)
    margins = np.stack([taught[:, 1] - taught[:, 0], before[:, 1] - before[:, 0]])
    assert np.corrcoef(margins)[0, 1] > 0.98


@pytest.mark.parametrize("run", [jointly, exits_only])
def test_a_share_of_0_is_training_by_labels(run: Any) -> None:
    found = []
    for temperature in (1.0, 5.0):
        network = fresh()
        run(
            network,
            recipe={
                "epochs": 1,
                "batch_size": 16,
                "learning_rate": 0.01,
                "weight_decay": 0.01,
                "distill": 0.0,
                "temperature": temperature,
            },
        )
        found.append(digest(network))
    assert found[0] == found[1]


def test_frozen_statistics_stay_while_weights_and_exits_learn() -> None:
    network = settled()
    before = state(network)
    jointly(
        network, recipe={"epochs": 2, "batch_size": 16, "learning_rate": 0.01, "weight_decay": 0, "freeze_norm": True}
    )
    after = state(network)
    frozen = {name for name in before if name.startswith("blocks.") and ("running" in name or "tracked" in name)}
    assert frozen
    assert {name for name in before if after[name] == before[name]} == frozen


@pytest.mark.parametrize(("run", "names"), [(jointly, ["exit1", "exit2", "final"]), (exits_only, ["exit1", "exit2"])])
def test_no_epochs_leave_the_network_as_it_is_and_log_what_it_knows(run: Any, names: list[str]) -> None:
    network = settled()
    before = state(network)
    metrics, logged = run(
        network, recipe={"epochs": 0, "batch_size": 16, "learning_rate": 0.01, "weight_decay": 0, "distill": 0.5}
    )
    assert state(network) == before
    assert logged == [(0, metrics)]
    shares = (predict(network, HELD_OUT.images, CPU).argmax(2) == HELD_OUT.labels).mean(1)
    assert metrics == {f"calibration/{name}": share for name, share in zip(names, shares, strict=False)}
