from pathlib import Path

import numpy as np
import pytest

from earlyexit.emulation import portable
from earlyexit.firmware import source
from earlyexit.tflite.deployment import Deployment
from tests import tiny_network


@pytest.fixture(scope="module")
def image(deployed: Deployment) -> np.ndarray:
    return deployed.quantize(tiny_network.images(1, seed=3))


def test_prints_every_layer_of_both_sides(deployed: Deployment, image: np.ndarray) -> None:
    text, slower = portable.compare(deployed.models, image)
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
    steps = source.lay_out(source.read(deployed.models)).steps
    assert [row[0] for row in rows] == [*(step.name for step in steps), "all"]
    counts = np.array([[int(row[place].replace(",", "")) for place in (2, 3, 5, 6)] for row in rows])
    assert np.array_equal(counts[:-1].sum(0), counts[-1])
    worse = counts[:-1, ::2] > counts[:-1, 1::2]
    names = [f"{step.name} on {core.name}" for step in steps for core in (portable.M0, portable.RISCV)]
    assert slower == [name for name, is_worse in zip(names, worse.ravel(), strict=True) if is_worse]


def test_a_wrong_answer_is_noticed(
    deployed: Deployment, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reference.c").write_text(portable.REFERENCE.read_text().replace("+ layer->bias[channel]", ""))
    monkeypatch.setattr(portable, "REFERENCE", tmp_path / "reference.c")
    with pytest.raises(
        ValueError, match=r"segment0_conv_0: the kernel's answer differs from the reference on Cortex-M0"
    ):
        portable.compare(deployed.models, image, [portable.M0])
