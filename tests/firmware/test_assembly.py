"""Single layers in the DSP code's assembly, on an emulated Cortex-M4, against TensorFlow Lite Micro."""

import numpy as np
import pytest

pytest.importorskip("unicorn")
pytest.importorskip("ziglang")

from earlyexit.emulation import compiler, emulator
from earlyexit.firmware import emit, layers
from earlyexit.firmware.layers import Layer
from earlyexit.tflite import arena
from tests.firmware import single_layer
from tests.firmware.host import KERNELS
from tests.firmware.single_layer import ACTIVATIONS

MAIN = "int main(void) { return 0; }\n"
SHAPES = {  # kernel size, stride, height, width, inputs, outputs
    "depthwise": [
        *(
            (3, stride, height, width, channels, channels)
            for stride in (1, 2)
            for height, width, channels in (
                (1, 1, 4),
                (2, 2, 4),
                (3, 3, 5),
                (6, 6, 8),
                (7, 12, 4),
                (5, 24, 4),
                (9, 50, 4),
                (11, 13, 6),
                (4, 57, 4),
                (6, 60, 4),
                (3, 101, 4),
                (2, 250, 4),
                (2, 251, 4),
            )
        ),
        (5, 1, 6, 6, 4, 4),
        (3, 3, 7, 7, 4, 4),
    ],
    "conv": [(3, 2, 9, 9, 3, 4), (3, 2, 12, 12, 3, 12), (3, 1, 5, 6, 3, 6), (3, 2, 3, 3, 3, 2), (2, 1, 5, 5, 5, 3)],
    "pointwise": [
        (1, 1, 3, 3, depth, channels)
        for depth, channels in (
            (1, 1),
            (4, 2),
            (8, 16),
            (12, 5),
            (27, 4),
            (36, 6),
            (60, 3),
            (64, 8),
            (68, 2),
            (70, 1),
            (132, 4),
        )
    ],
}


def models(kind: str, zero_point: int, bits: int) -> list[bytes]:
    top = 2 ** (bits - 1) - 1
    rng = np.random.default_rng(zero_point + 128)
    found = []
    for kernel, stride, height, width, inputs, outputs in SHAPES[kind]:
        depthwise = kind == "depthwise"
        shape = (1, kernel, kernel, outputs) if depthwise else (outputs, kernel, kernel, inputs)
        weights = rng.integers(-top, top + 1, shape, np.int8)
        depth = weights.size // outputs
        factors = 2.0 ** (1 - bits - np.log2(depth) / 2 + rng.uniform(-1.5, 1.5, outputs))
        factors[0] *= rng.choice([1, 2.0**7])  # now and then one that no line serves, or that needs more bits
        model = single_layer.window(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            single_layer.activation((height, width, inputs), (0.02, int(rng.integers(-128, 128)))),
            weights,
            factors.tolist(),
            rng.integers(-3000, 3000, outputs).astype(np.int32),
            (0.02, zero_point),
            stride=(stride, stride),
            function=ACTIVATIONS.RELU if zero_point == -128 else ACTIVATIONS.NONE,
            bits=bits,
        )
        found.append(model)
    return found


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("zero_point", [-128, 7])
@pytest.mark.parametrize("kind", list(SHAPES))
def test_assembly_equals_tflm(kind: str, zero_point: int, bits: int) -> None:
    made = models(kind, zero_point, bits)
    read: list[Layer] = [layers.read(model, "layer").layers[0] for model in made]
    text = ['#include <stddef.h>\n#include <stdint.h>\n#include "ee_kernels.h"\n']
    for number, layer in enumerate(read):
        text.append(emit.constants(layer, f"layer{number}"))
        call = emit.call(layer, f"layer{number}", ["input"], "output", "scratch")
        text.append(f"void run{number}(const int8_t *input, int8_t *output, int8_t *scratch);\n")
        text.append(f"void run{number}(const int8_t *input, int8_t *output, int8_t *scratch) {{ {call} }}\n")
    sources = {path.name: path.read_text(encoding="utf-8") for path in KERNELS.iterdir()}
    roots = [f"run{number}" for number in range(len(made))]
    image = compiler.build({**sources, "layers.c": "".join(text), "main.c": MAIN}, roots=roots, flash=1 << 20)
    machine = emulator.Machine(image)
    rng = np.random.default_rng(0)
    for number, (model, layer) in enumerate(zip(made, read, strict=True)):
        values = rng.integers(-128, 128, (1, *layer.in_shape), np.int8)
        (expected,) = arena.run(model, values)
        at = [machine.exchange + place for place in (0, 1 << 17, 1 << 18)]
        machine.write(at[0], values)
        machine.write(at[1], np.full(expected.size + 16, 55, np.int8))
        machine.write(at[2], np.full(emit.scratch_bytes(layer) + 16, 55, np.int8))
        machine.call(f"run{number}", *at)
        after = machine.read(at[1], expected.size + 16)
        assert np.array_equal(after[:-16], expected.ravel()), SHAPES[kind][number]
        assert (after[-16:] == 55).all()
        assert (machine.read(at[2], emit.scratch_bytes(layer) + 16)[-16:] == 55).all(), "behind scratch memory"
