from math import prod

import numpy as np
import pytest

from earlyexit.emulation import emulator, qemu
from earlyexit.emulation.compiler import Image, build
from earlyexit.firmware import source
from earlyexit.task import CLASSES
from earlyexit.tflite.deployment import Deployment
from tests import tiny_network
from tests.emulation import standin

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
    ours = emulator.run(image, inputs, standin.FEATURES)
    theirs = qemu.run(image, inputs)
    assert np.array_equal(theirs.logits, ours.logits)
    assert theirs.outcomes == ours.outcomes == [standin.outcome(pixels) for pixels in inputs]
    assert ours.instructions.min() > 10_000
    assert np.allclose(theirs.instructions, ours.instructions, rtol=0.01)
    assert np.allclose(theirs.cascade, [cost.instructions for cost in ours.cascade], rtol=0.01)


@installed
def test_agrees_on_a_network(deployed: Deployment) -> None:
    inputs = deployed.quantize(tiny_network.images(3, seed=2))
    texts = source.generate(deployed.models, deployed.names, [9, 9], None, CLASSES, deployed.pixels)
    image = build(texts)
    ours = emulator.run(image, inputs, [prod(segment.features_shape or ()) for segment in deployed.segments()[:-1]])
    theirs = qemu.run(image, inputs)
    assert np.array_equal(theirs.logits, ours.logits)
    assert theirs.outcomes == ours.outcomes
    assert np.allclose(theirs.instructions, ours.instructions, rtol=0.01)


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
def library() -> Image:
    return build(standin.SOURCES)


def test_too_many_images(monkeypatch: pytest.MonkeyPatch, library: Image) -> None:
    monkeypatch.setattr(qemu, "available", lambda: True)
    with pytest.raises(ValueError, match="400000 images, the board has room for"):
        qemu.run(library, np.zeros((400_000, 4, 4, 3), np.int8))


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch, library: Image) -> None:
    monkeypatch.setattr(qemu, "available", lambda: False)
    with pytest.raises(FileNotFoundError, match="apt-get install qemu-system-arm"):
        qemu.run(library, standin.inputs(1))
