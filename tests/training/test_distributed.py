import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from earlyexit.common.files import read_json
from earlyexit.training import distributed
from tests import ROOT, ranks
from tests.tiny_training import CPU
from tests.waiting import LONGER, running, wait_until

# Of weights, losses and metrics in float64, two processes against one: AdamW divides by the size of the gradient, and
# so makes 1e-10 of a gradient that is rounding alone.
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes found, and wrote each by itself."""
    out = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKS_OUT", str(out))
        assert distributed.launch("tests.ranks", 2)
    return out


def of(found: Path, case: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return load_file(found / f"{case}-0.safetensors"), load_file(found / f"{case}-1.safetensors")


def assert_close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name].double(), b[name].double(), rtol=TOLERANCE, atol=TOLERANCE, msg=name)


def test_two_processes_know_who_they_are(found: Path) -> None:
    assert [read_json(found / f"{rank}.json") for rank in (0, 1)] == [
        {"processes": 2, "main": True},
        {"processes": 2, "main": False},
    ]


@pytest.mark.parametrize("case", ranks.CASES)
def test_two_processes_train_as_one(found: Path, case: str) -> None:
    first, second = of(found, case)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert_close(first, ranks.train(case))


def test_two_processes_learn_the_ranges_of_all_images(found: Path) -> None:
    first, second = of(found, ranks.QUANTIZED)
    assert all(torch.equal(first[name], second[name]) for name in first)
    alone = ranks.quantized()
    assert first.keys() == alone.keys()
    ranges = [name for name in first if name.endswith((".low", ".high"))]
    assert len(ranges) > 20
    for name in ranges:  # a sum in another order may round to another step
        torch.testing.assert_close(first[name], alone[name], rtol=0.05, atol=0.02, msg=name)


def test_a_process_may_get_no_image(found: Path) -> None:
    first, second = of(found, ranks.UNEVEN)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert_close(first, ranks.train("joint augmented"))


def test_two_processes_resume_as_one_that_was_not_interrupted(found: Path) -> None:
    resumed, whole = of(found, ranks.UNFINISHED), of(found, "joint augmented")
    for a, b in zip(resumed, whole, strict=True):
        assert len(a.pop("losses")) == len(b.pop("losses")) / 2
        assert all(torch.equal(a[name], b[name]) for name in b)


def test_one_process_needs_nobody() -> None:
    assert not distributed.launch("tests.missing", 1)
    assert distributed.join(CPU) == CPU
    assert (distributed.rank(), distributed.processes(), distributed.is_main()) == (0, 1, True)
    assert distributed.part(7) == (0, 7)
    values = torch.arange(3)
    assert distributed.total(values) is values
    assert distributed.from_main(b"said", CPU) == b"said"
    model = nn.Linear(1, 1)
    assert distributed.shared(model, [1.0]) is model


def test_under_torchrun_nothing_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "given")
    assert not distributed.launch("tests.missing", 2)


def test_one_gpu_cannot_be_named_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "given")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(distributed, "_end_with_launcher", lambda: None)
    with pytest.raises(ValueError, match=r"^train\.device: 'cuda:1' names one GPU.*write cuda"):
        distributed.join(torch.device("cuda:1"))
    with pytest.raises(ValueError, match=r"^train\.processes: more than the 2 GPUs"):
        distributed.join(torch.device("cuda"))


# Process 1 fails when both have spoken. They speak in one write: print may make two of a line, and those mix.
SCRIPT = """
import os, pathlib, signal, sys, time
rank = int(os.environ["RANK"])
os.write(1, b"progress\\n")
spoken = pathlib.Path(__file__).with_suffix(".spoken")
if rank == 0:
    spoken.touch()
else:
    while not spoken.exists():
        time.sleep(0.01)
    {fault}
time.sleep({LONGER})
"""
FAULTS = {
    "sys.exit('error: joint: the loss is not finite')": "process 1: joint: the loss is not finite",
    "raise RuntimeError('a bug')": "process 1: RuntimeError: a bug",
    "os.kill(os.getpid(), signal.SIGKILL)": "process 1: ended by SIGKILL",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_process_ends_all_with_one_line(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "failing.py").write_text(SCRIPT.format(fault=fault, LONGER=LONGER))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ValueError) as error:
        distributed.launch("failing", 2)
    assert str(error.value) == FAULTS[fault]
    said = capfd.readouterr()
    assert said.out == "progress\n" * 2
    assert said.err == ""


WORKER = f"""
import os, pathlib, time, torch
from earlyexit.training import distributed
distributed.join(torch.device("cpu"))
pathlib.Path(os.environ["RANKS_OUT"], f"{{distributed.rank()}}.pid").write_text(str(os.getpid()))
time.sleep({LONGER})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends them on Linux")
def test_a_killed_launcher_leaves_nobody_behind(tmp_path: Path) -> None:
    (tmp_path / "waiting.py").write_text(WORKER)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    launcher = subprocess.Popen(
        [sys.executable, "-c", "from earlyexit.training import distributed; distributed.launch('waiting', 2)"],
        env={**os.environ, "PYTHONPATH": path, "RANKS_OUT": str(tmp_path)},
    )
    try:
        said = [tmp_path / "0.pid", tmp_path / "1.pid"]
        wait_until(lambda: all(path.exists() and path.read_text() for path in said))
        workers = [int(path.read_text()) for path in said]
    finally:
        launcher.kill()
        launcher.wait()
    wait_until(lambda: not any(map(running, workers)))
