import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import firmware
from earlyexit.tflite import arena, reader
from earlyexit.tflite.deployment import Deployment
from tests import tiny_network, tiny_tflite


class Known:
    """Stands in for bakenn: writes C that knows the answers to one image."""

    KernelPolicy = SimpleNamespace(STATIC_PRIORITY="static")
    CBackendOptions = SimpleNamespace

    def __init__(self, network: Deployment, image: np.ndarray, mistake: int = 0) -> None:
        self.mistake = mistake
        self.answers = {}
        x = image
        for model in network.models:
            self.answers[firmware.body(model)] = arena.run(firmware.body(model), x)[0]
            x = max(arena.run(model, x), key=np.ndim)

    def compile_tflite(self, model: bytes, folder: str, *, name: str, target: str, backend_options: Any) -> None:
        assert (target, backend_options.enable_cmsis_nn) == ("cortex-m4", True)
        answer = self.answers[model].ravel() + np.int8(self.mistake)
        Path(folder, f"bknn_{name}.h").write_text(
            f"#include <stdint.h>\n#define BKNN_{name.upper()}_ARENA_SIZE 24\n"
            f"void bknn_{name}_infer(uint8_t *arena, const int8_t *input, int8_t *output);\n"
        )
        numbers = ", ".join(map(str, answer.tolist()))
        Path(folder, f"bknn_{name}.c").write_text(
            f'#include "bknn_{name}.h"\n#include <string.h>\nstatic const int8_t answer[] = {{{numbers}}};\n'
            f"void bknn_{name}_infer(uint8_t *arena, const int8_t *input, int8_t *output)\n"
            "{ arena[0] = (uint8_t)input[0]; memcpy(output, answer, sizeof answer); }\n"
        )


@pytest.fixture(scope="module")
def image(deployed: Deployment) -> np.ndarray:
    return deployed.quantize(tiny_network.images(1, seed=3))


def test_prints_both_sides_and_their_ratio(deployed: Deployment, image: np.ndarray) -> None:
    text = firmware.compare(Known(deployed, image), deployed, image)
    rows = {line.split(" | ")[0].strip("| *"): line.split(" | ") for line in text.splitlines() if line.startswith("|")}
    assert list(rows)[2:] == [*deployed.names, "all"]
    counts = np.array([[int(cell.replace(",", "")) for cell in rows[name][1:3]] for name in (*deployed.names, "all")])
    assert np.array_equal(counts[:-1].sum(0), counts[-1])
    assert float(rows["all"][3].strip("*")) == pytest.approx(counts[-1, 0] / counts[-1, 1], abs=0.006)
    assert "by function: memcpy" in text


def test_a_wrong_answer_is_noticed(deployed: Deployment, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="segment 1: bakenn's answer differs"):
        firmware.compare(Known(deployed, image, mistake=1), deployed, image)


def test_the_body_is_the_segment_up_to_its_mean(deployed: Deployment, image: np.ndarray) -> None:
    operators = reader.operators(deployed.models[0])
    body = firmware.body(deployed.models[0])
    assert [operator.name for operator in reader.operators(body)] == [operator.name for operator in operators[:-2]]
    assert arena.run(body, image)[0].shape[1:] == operators[-2].inputs[0].shape[1:]


def test_a_segment_without_a_mean() -> None:
    network = tiny_tflite.Network(8)
    with pytest.raises(ValueError, match="does not end with MEAN and FULLY_CONNECTED"):
        firmware.body(network.finish(network.conv(network.input, 2)))


def test_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nowhere"):
        firmware.main([str(tmp_path / "nowhere")])


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch, deployed: Deployment) -> None:
    monkeypatch.setattr("earlyexit.deployment.load", lambda folder: deployed)
    monkeypatch.setitem(sys.modules, "bakenn", None)
    with pytest.raises(SystemExit, match=r"bakenn is not installed: pip install 'bakenn\[tflite\]==1\.0\.0'"):
        firmware.main([])
    monkeypatch.setitem(sys.modules, "bakenn", ModuleType("bakenn"))
    monkeypatch.setitem(sys.modules, "tflite", ModuleType("tflite"))
    monkeypatch.setattr("bakenn.__version__", "2.0", raising=False)
    with pytest.raises(SystemExit, match=r"bakenn 2\.0 is installed, the comparison is with 1\.0\.0"):
        firmware.main([])
