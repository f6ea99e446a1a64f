from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from earlyexit.emulation import emulate, library, qemu
from earlyexit.emulation.compiler import build
from earlyexit.emulation.image import Image
from earlyexit.emulation.qemu import QemuTrace
from earlyexit.firmware import source
from earlyexit.policy.cascade import Outcome
from earlyexit.tflite.deployment import Deployment
from tests import tiny_network
from tests.emulation import standin
from tests.emulation.test_timings import PIECES, functions
from tests.policies import policy

installed = pytest.mark.skipif(not qemu.available(), reason="needs qemu-system-arm")

# A thousand rounds in place of one, for a clock that counts 40 instructions a tick.
LONG = {**standin.SOURCES, "sum.c": standin.KERNEL.replace("int32_t sum = 0;", "int32_t sum = work();").replace(
    "void ee_sum", """static int32_t work(void)
    {
        volatile int32_t rounds = 1000;
        int32_t odd = 0;
        while (rounds > 0) { rounds--; if (odd > 5) { odd -= 7; } odd += 3; }
        return odd * 0;
    }
    void ee_sum""")}  # fmt: skip


@installed
def test_agrees_with_the_emulator() -> None:
    inputs = standin.inputs(3)
    image = build(LONG)
    ours, decided = library.run(image, inputs, standin.FEATURES), library.decide(image, inputs, 3, [None])
    theirs = qemu.run(image, inputs)
    assert np.array_equal(theirs.logits, ours.logits)
    assert theirs.outcomes == [Outcome(*row) for row in decided.outcomes[0].tolist()]
    assert ours.instructions.min() > 10_000
    assert np.allclose(theirs.instructions, ours.instructions, rtol=0.01)
    assert np.allclose(theirs.cascade, decided.instructions[0], rtol=0.01)


@installed
def test_agrees_on_pieces_of_assembly() -> None:
    calls = "\n".join(f"{name}((int)memory, (int)(memory + 16), 4, (int)(memory + 32));" for name in PIECES)
    rounds = f"static int memory[64]; for (int i = 0; i < 500; i++) {{ {calls} }} int32_t sum = 0;"
    pieces = functions({name: piece.code for name, piece in PIECES.items()})
    image = build({**standin.SOURCES, "sum.c": pieces + standin.KERNEL.replace("int32_t sum = 0;", rounds)})
    ours = library.run(image, standin.inputs(1), standin.FEATURES)
    theirs = qemu.run(image, standin.inputs(1))
    assert np.allclose(theirs.instructions, ours.instructions, rtol=0.001)


@installed
def test_agrees_on_a_network(deployed: Deployment) -> None:
    inputs = deployed.quantize(tiny_network.images(3, seed=2))
    image = build(source.generate(deployed, policy([9, 9])))
    assert "| exit1 | " in qemu.compare(image, inputs, deployed.names, emulate.features_bytes(deployed))


@installed
def test_a_firmware_that_fails_is_heard() -> None:
    sources = {**standin.SOURCES, "ee.c": standin.SOURCE.replace("segment >= EE_SEGMENTS", "segment == 1")}
    with pytest.raises(ValueError, match="said: segment -2"):
        qemu.run(build(sources), standin.inputs(1))


@installed
def test_a_firmware_that_hangs_is_ended() -> None:
    sources = {
        **standin.SOURCES,
        "ee.c": standin.SOURCE.replace("int ee_init(void) {", "int ee_init(void) { for (;;);"),
    }
    with pytest.raises(ValueError, match=r"not done after 0\.5 seconds"):
        qemu.run(build(sources), standin.inputs(1), timeout=0.5)


@pytest.fixture(scope="module")
def image() -> Image:
    return build(standin.SOURCES)


def test_too_many_images(monkeypatch: pytest.MonkeyPatch, image: Image) -> None:
    monkeypatch.setattr(qemu, "available", lambda: True)
    with pytest.raises(ValueError, match="400000 images, the board has room for"):
        qemu.run(image, np.zeros((400_000, 4, 4, 3), np.int8))


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch, image: Image) -> None:
    monkeypatch.setattr(qemu, "available", lambda: False)
    with pytest.raises(FileNotFoundError, match="apt-get install qemu-system-arm"):
        qemu.run(image, standin.inputs(1))


NAMES = ["exit1", "exit2", "final"]


@pytest.fixture
def theirs(image: Image, monkeypatch: pytest.MonkeyPatch) -> QemuTrace:
    """The trace of a QEMU that agrees with the emulator."""
    trace, decided = (
        library.run(image, standin.inputs(2), standin.FEATURES),
        library.decide(image, standin.inputs(2), 3, [None]),
    )
    outcomes = [Outcome(*row) for row in decided.outcomes[0].tolist()]
    same = QemuTrace(trace.logits, outcomes, trace.instructions, decided.instructions[0])
    monkeypatch.setattr(qemu, "run", lambda image, inputs: same)
    return same


def test_compares_both_emulators(image: Image, theirs: QemuTrace) -> None:
    rows = qemu.compare(image, standin.inputs(2), NAMES, standin.FEATURES).splitlines()
    count = f"{theirs.instructions[0, 0]:,}"
    assert rows[2] == f"| exit1 | {count} | {count} | 0.000 % |"
    assert len(rows) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instructions": 10_000 + np.zeros((3, 2), np.int64)}, "exit1: .* instructions on unicorn, 10,000 on QEMU"),
        ({"logits": np.zeros((3, 2, 2), np.int8)}, "answers otherwise"),
        ({"outcomes": []}, "answers otherwise"),
    ],
)
def test_differences_are_named(
    image: Image, theirs: QemuTrace, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(qemu, "run", lambda image, inputs: replace(theirs, **change))
    with pytest.raises(ValueError, match=message):
        qemu.compare(image, standin.inputs(2), NAMES, standin.FEATURES)
