import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from earlyexit.common.files import read_json
from earlyexit.dataset import COLUMNS, open_split
from earlyexit.packing.decode import decode
from earlyexit.taught import FACTS, read, taught
from earlyexit.teaching import teach as teaching
from earlyexit.teaching.classifier import Classifier
from stages import teach
from tests import ROOT, tiny_network
from tests.stages.tiny_params import tiny
from tests.teaching import models, photographs

SHARED = ROOT.parent / "shared"
MIT = SHARED / "pretrained" / "mit_vww_208x238.tflite"
PHOTOS = SHARED / "photos"
COUNTS = {"train": 40, "calibration": 6, "val": 10}
TEACHER = Path("models/teacher")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A packed data set, and a teacher; its file is tried in this process."""
    monkeypatch.chdir(tmp_path)
    splits = {
        name: tiny_network.dark_and_bright(count, 32, seed=number)
        for number, (name, count) in enumerate(COUNTS.items())
    }
    write_packed({name: (split.images, split.labels.tolist()) for name, split in splits.items()})
    for name in ("train", "val"):
        photographs.write(Path("data/raw"), name, photographs.lossless(splits[name]))
    (tmp_path / "teacher.onnx").write_bytes(models.onnx_bytes())
    monkeypatch.setattr(teaching, "open_teacher", teaching._try)
    return tmp_path


def write_packed(splits: dict[str, tuple[np.ndarray, list[int]]]) -> None:
    packed = Path("data/packed")
    packed.mkdir(parents=True)
    rows = [(row, name, label, 0.5) for name, (_, labels) in splits.items() for row, label in enumerate(labels)]
    for name, (images, _) in splits.items():
        np.save(packed / f"{name}.npy", images)
    pd.DataFrame(rows, columns=COLUMNS).to_csv(packed / "index.csv", index=False)


def use(monkeypatch: pytest.MonkeyPatch, **leaves: Any) -> None:
    monkeypatch.setattr(teach, "load", lambda: tiny(**{f"teacher.{leaf}": value for leaf, value in leaves.items()}))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})


def test_without_a_teacher_the_folder_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    teach.main()
    assert read_json(TEACHER / FACTS) == {"model": None}
    assert [path.name for path in TEACHER.iterdir()] == [FACTS]
    assert taught(TEACHER, open_split("data/packed", "train")) is None


def test_without_a_teacher_no_runtime_is_loaded(root: Path) -> None:
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    script = (
        "import sys; from stages import teach; teach.main(); print([m for m in ('torch', 'onnx') if m in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_answers_to_train_and_val_are_kept_apart(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, model="teacher.onnx")
    teach.main()
    train, val = (open_split("data/packed", name) for name in ("train", "val"))
    found, on_val = taught(TEACHER, train), read(TEACHER, "val", val.ids)
    assert found is not None and on_val is not None
    classifier = Classifier(root / "teacher.onnx", tiny().teacher.pixels())
    files = photographs.lossless(train)
    outputs = np.stack([classifier(decode(file.content, 32, 32, models.WIDTH)) for file in files])
    np.testing.assert_allclose(found, outputs[:, 1] - outputs[:, 0], rtol=1e-5)
    facts = read_json(TEACHER / FACTS)
    assert facts["sha256"] == hashlib.sha256((root / "teacher.onnx").read_bytes()).hexdigest()
    assert facts["train"] == {"n": 40, "accuracy": float(((found > 0) == train.labels).mean())}
    assert facts["val"] == {"n": 10, "accuracy": float((on_val.labels() == val.labels).mean())}
    assert "of 10 val images" in capsys.readouterr().out
    assert sorted(path.name for path in TEACHER.iterdir()) == [FACTS, "train.safetensors", "val.safetensors"]
    assert not teach.UNFINISHED.exists()


def test_an_interrupted_stage_goes_on_to_the_same_bytes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, model="teacher.onnx")
    monkeypatch.setattr(teaching, "CHUNK", 16)
    teach.main()
    expected = {path.name: path.read_bytes() for path in TEACHER.iterdir()}
    original = teaching._chunk
    computed: list[None] = []

    def interrupted(*args: Any) -> Any:
        if len(computed) == 2:
            raise KeyboardInterrupt
        computed.append(None)
        return original(*args)

    monkeypatch.setattr(teaching, "_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        teach.main()
    assert {path.name: path.read_bytes() for path in TEACHER.iterdir()} == expected  # those of the run before
    assert len(list(teach.UNFINISHED.iterdir())) == 2
    computed.clear()
    teach.main()
    assert len(computed) == 2  # the third chunk of train, the only one of val
    assert {path.name: path.read_bytes() for path in TEACHER.iterdir()} == expected


@pytest.mark.skipif(not (MIT.is_file() and PHOTOS.is_dir()), reason="needs ../shared/pretrained and ../shared/photos")
def test_the_challenge_s_winner_is_right_on_photographs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 60
    (root / "data").rename(root / "tiny")
    train, given = chosen("train", count)
    val, _ = chosen("val", count)
    write_packed({"train": train, "val": val})
    use(monkeypatch, model=str(MIT))
    teach.main()
    facts, found = read_json(TEACHER / FACTS), taught(TEACHER, open_split("data/packed", "train"))
    assert found is not None
    assert (facts["kind"], facts["height"], facts["width"], facts["answers"]) == ("int8", 208, 238, "probabilities")
    assert facts["val"]["accuracy"] > 0.8
    # `given` was answered on larger copies of the photographs.
    assert np.corrcoef(1 / (1 + np.exp(-found)), given)[0, 1] > 0.8


def chosen(split: str, count: int) -> tuple[tuple[np.ndarray, list[int]], list[float]]:
    """Write some photographs; their pixels and labels, and the probabilities of a person that are given with them."""
    content = json.loads((PHOTOS / f"annotations/instances_{split}.json").read_text())
    some = content["images"][:: len(content["images"]) // count][:count]
    persons: dict[int, float] = {}
    for entry in content["annotations"]:
        persons[entry["image_id"]] = max(persons.get(entry["image_id"], 0.0), entry["area"])
    files = [
        photographs.File(
            row, (PHOTOS / "images" / split / image["file_name"]).read_bytes(), image["width"], image["height"]
        )
        for row, image in enumerate(some)
    ]
    photographs.write(Path("data/raw"), split, files)
    pixels = [decode(file.content, file.width, file.height, 96) for file in files]
    labels = [int(persons.get(image["id"], 0) >= 0.005 * image["width"] * image["height"]) for image in some]
    return (np.stack(pixels), labels), [image.get("teacher", 0.0) for image in some]
