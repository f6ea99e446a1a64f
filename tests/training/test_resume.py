import ast
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_bytes

from earlyexit import taught
from earlyexit.common.files import read_json, write_json
from earlyexit.dataset import PackedSplit
from earlyexit.model.inference import prepare_torch
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.params import TrainParams
from earlyexit.training import distributed, resume
from earlyexit.training.distillation import Taught
from earlyexit.training.trainers import train_jointly
from stages import logs
from tests import ROOT, tiny_network, tiny_training
from tests.tiny_training import AUGMENT, CPU, SIZE, Stage

TRAIN = tiny_network.dark_and_bright(40, SIZE)
HELD_OUT = tiny_network.dark_and_bright(20, SIZE, seed=1)
RECIPE = {"epochs": 3, "learning_rate": 0.01}
TAUGHT = {"distill": 0.5, "temperature": 2.0}
TEACHER = np.linspace(-3, 3, len(TRAIN)).astype(np.float32)
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "all": {"recipe": RECIPE | TAUGHT | {"freeze_norm": True}, "augment": AUGMENT},
    "bfloat16, one exit untrained": {"precision": "bfloat16", "weights": [0.0, 0.3, 1.0]},
    "averaged": {"recipe": RECIPE | {"average": 0.9}},
    "exits": {"stage": "disjoint"},
    "exits, all": {"recipe": RECIPE | TAUGHT, "augment": AUGMENT, "stage": "disjoint"},
    "taught": {"recipe": RECIPE | TAUGHT, "taught": Taught(TEACHER, 0.5)},
    "quantized": {"recipe": RECIPE | TAUGHT | {"average": 0.9}, "augment": AUGMENT, "stage": "qat"},
    "growing": {"recipe": RECIPE | {"small_epochs": 2}, "augment": AUGMENT, "stage": "baseline"},
}


class Killed(BaseException):
    """The end of the process, as far as the training can see."""


Logged = list[tuple[int, dict[str, float]]]


def train(
    unfinished: Path | None, *, stage: Stage = "joint", last: int = 0, seed: int = 0, **changes: Any
) -> tuple[bytes, Logged]:
    """Train; the weights' bytes and the log; end at once when epoch `last` is logged."""
    logged: Logged = []

    def log(epoch: int, metrics: dict[str, float]) -> None:
        logged.append((epoch, metrics))
        if epoch == last:
            raise Killed

    prepare_torch(seed, 1, "cpu")
    network = tiny_training.network(stage)
    settings: dict[str, Any] = {"train": TRAIN, "held_out": HELD_OUT, "recipe": RECIPE} | changes
    tiny_training.train(stage, network, log=log, unfinished=unfinished, **settings)
    return to_bytes({name: value.contiguous() for name, value in network.state_dict().items()}), logged


def interrupted(unfinished: Path, last: int, **changes: Any) -> None:
    with pytest.raises(Killed):
        train(unfinished, last=last, **changes)


@pytest.mark.parametrize("case", CASES)
def test_interrupted_after_every_epoch_ends_as_uninterrupted(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(None, **CASES[case])
    for epoch in (1, 2, 3):
        interrupted(tmp_path, epoch, **CASES[case])
        assert (tmp_path / f"epoch{epoch}.safetensors").exists()
        assert len(list(tmp_path.iterdir())) == 2
    assert train(tmp_path, **CASES[case]) == whole
    title = CASES[case].get("stage", "joint")
    said = [f"{title}: going on from epoch 2 of 3", f"{title}: going on from epoch 3 of 3", f"{title}: trained already"]
    assert capsys.readouterr().out.splitlines() == said


def test_the_state_is_nothing_to_an_undisturbed_training(tmp_path: Path) -> None:
    assert train(tmp_path, **CASES["all"]) == train(None, **CASES["all"])


CHANGES: dict[str, dict[str, Any]] = {
    "initial weights, random numbers": {"seed": 1},
    "images": {"train": PackedSplit(255 - TRAIN.images, TRAIN.labels, TRAIN.ids)},
    "labels": {"train": PackedSplit(TRAIN.images, 1 - TRAIN.labels, TRAIN.ids)},
    "recipe": {"weights": [0.3, 0.2, 1.0]},
    "augmentation": {"augment": AUGMENT},
    "precision": {"precision": "bfloat16"},
    "teacher": {"taught": Taught(TEACHER, 1.0)},
}


@pytest.mark.parametrize("other", CHANGES)
def test_another_training_starts_anew(other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(tmp_path, 2)
    assert train(tmp_path, **CHANGES[other]) == train(None, **CHANGES[other])
    said = f"joint: the unfinished training in {tmp_path} is of other {other}; starting anew\n"
    assert capsys.readouterr().out == said
    assert {path.name for path in tmp_path.iterdir()} == {"state.json", "epoch3.safetensors"}


@pytest.mark.parametrize("other", ["code", "packages", "device"])
def test_another_program_or_machine_starts_anew(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(tmp_path / "state", 2)
    if other == "code":
        (tmp_path / "changed.py").write_text("changed")
        monkeypatch.setattr(resume, "code", lambda: [tmp_path / "changed.py"])
    elif other == "packages":
        monkeypatch.setattr(resume, "version", lambda package: "0.0")
    else:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "other")
    _, logged = train(tmp_path / "state")
    assert f"is of other {other}; starting anew" in capsys.readouterr().out
    assert len(logged) == 3


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no tensors": lambda folder: (folder / "epoch2.safetensors").unlink(),
    "tensors cut": lambda folder: cut(folder / "epoch2.safetensors"),
    "a bit flipped": lambda folder: flipped(folder / "epoch2.safetensors"),
    "empty": lambda folder: (folder / "state.json").write_text(""),
    "cut": lambda folder: cut(folder / "state.json"),
    "of other keys": lambda folder: write_json(folder / "state.json", {"history": []}),
    "of a number too much": lambda folder: write_json(
        folder / "state.json", read_json(folder / "state.json") | {"history": [{}] * 3}
    ),
    "not text": lambda folder: (folder / "state.json").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_state_is_left_alone(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(tmp_path, 2)
    DAMAGE[damage](tmp_path)
    assert train(tmp_path) == train(None)
    said = f"joint: the unfinished training in {tmp_path} is damaged; starting anew\n"
    assert capsys.readouterr().out == said


def test_a_kill_between_the_two_files_costs_one_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(tmp_path, 1)

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(resume, "write_json", killed)
        with pytest.raises(Killed):
            train(tmp_path)
    capsys.readouterr()
    assert train(tmp_path) == train(None)
    assert capsys.readouterr().out == "joint: going on from epoch 2 of 3\n"


def test_the_log_of_a_resumed_training_is_that_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    monkeypatch.setattr(logs, "open_split", lambda _, split: {"train": TRAIN, "calibration": HELD_OUT}[split])
    settings = TrainParams(seed=0, device="cpu", threads=1, processes=1, precision="float32")

    def stage(last: int = 0) -> None:
        with logs.training("joint", settings, AUGMENT) as (folder, session):

            def logged(epoch: int, metrics: dict[str, float]) -> None:
                session.log(epoch, metrics)
                if epoch == last:
                    raise Killed

            recipe = tiny_training.JOINT.model_copy(update=RECIPE)
            train_jointly(tiny_training.network("joint"), recipe, replace(session, log=logged))
            assert session.unfinished is not None
            assert (session.unfinished / "state.json").exists()
            assert folder.parent == Path("models")

    write_json("models/teacher/teacher.json", {"model": None})
    stage()
    whole = written(Path("models"))
    shutil.rmtree("models/joint")
    with pytest.raises(Killed):
        stage(last=2)
    assert not Path("models/joint").exists()
    stage()
    assert written(Path("models")) == whole
    assert "joint/log/metrics.json" in whole


def test_a_session_has_the_answers_of_the_teach_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "open_split", lambda _, split: {"train": TRAIN, "calibration": HELD_OUT}[split])
    settings = TrainParams(seed=0, device="cpu", threads=1, processes=1, precision="float32")
    write_json("models/teacher/teacher.json", {"model": "big.tflite", "kind": "int8"})
    taught.save(Path("models/teacher"), "train", TRAIN.ids, TEACHER)
    with logs.training("joint", settings, AUGMENT, 0.3) as (_, session):
        assert session.taught is not None
        assert session.taught.share == 0.3
        assert np.array_equal(session.taught.log_odds, TEACHER)
    taught.save(Path("models/teacher"), "train", HELD_OUT.ids, TEACHER[: len(HELD_OUT)])
    with pytest.raises(ValueError, match="run the teach stage again"), logs.training("disjoint", settings, AUGMENT):
        pass
    assert not Path("models/disjoint").exists()


def written(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# It kills itself, so that the moment is the same on every machine: within the third epoch, of 3 batches.
SCRIPT = """
import itertools, os, signal, sys
from pathlib import Path
from earlyexit.training import loop
from tests.training import test_resume
steps, step = itertools.count(1), loop.Step.__call__
def killed(*arguments):
    if next(steps) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*arguments)
loop.Step.__call__ = killed
test_resume.train(Path(sys.argv[1]), **test_resume.CASES["all"])
"""


def test_killed_by_the_kernel_ends_as_uninterrupted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL, check=False)
    assert done.returncode == -signal.SIGKILL
    assert train(tmp_path, **CASES["all"]) == train(None, **CASES["all"])
    assert capsys.readouterr().out == "joint: going on from epoch 3 of 3\n"


def test_processes_with_other_data_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {"labels": "a", "images": "b", "code": "c"}
    monkeypatch.setattr(distributed, "from_main", lambda content, device: content.replace(b'"b"', b'"x"'))
    monkeypatch.setattr(distributed, "rank", lambda: 3)
    with pytest.raises(ValueError, match=r"^process 3 has other images than process 0; all need the same$"):
        resume._same_everywhere(mine, CPU)


def test_the_fingerprint_samples_the_whole_split() -> None:
    network = EarlyExitNetwork(tiny_network.architecture(resolution=SIZE))
    data = tiny_network.dark_and_bright(200, SIZE)
    found = []
    for row in (None, 0, 199):
        images = data.images.copy()
        if row is not None:
            images[row] ^= 1
        found.append(resume.fingerprint(network, PackedSplit(images, data.labels, data.ids), CPU, {})["images"])
    assert len(set(found)) == 3
    assert np.unique(np.linspace(0, 199, resume.SAMPLE).astype(int)).size == resume.SAMPLE


def test_the_code_that_counts_is_all_that_training_imports() -> None:
    """And no more: an unfinished training goes on after a change of a figure."""
    imported: set[str] = set()
    queue = sorted((ROOT / "earlyexit/training").glob("*.py"))
    while queue:
        for node in ast.walk(ast.parse(queue.pop().read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("earlyexit"):
                names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
                paths = {f"{name.replace('.', '/')}.py" for name in names} - imported
                imported |= {path for path in paths if (ROOT / path).is_file()}
                queue += [ROOT / path for path in paths if (ROOT / path).is_file()]
    counted = {path.relative_to(ROOT).as_posix() for path in resume.code()}
    assert {"earlyexit/training/loop.py", "earlyexit/model/network.py", "earlyexit/dataset.py"} <= counted
    assert imported - counted <= {"earlyexit/common/files.py", "earlyexit/common/pool.py"}  # of no influence on weights
    assert not any(path.startswith(("earlyexit/plots", "earlyexit/reports")) for path in counted)
