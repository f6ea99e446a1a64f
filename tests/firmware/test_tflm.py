import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from earlyexit.firmware import tflm
from earlyexit.policy import decision
from earlyexit.task import CLASSES
from earlyexit.tflite import arena
from earlyexit.tflite.deployment import Deployment
from tests.firmware.host import build_texts
from tests.policies import policy

THRESHOLDS = [12, 20]
DUMP = """
#include <stdint.h>
#include <stdio.h>
#include "ee_tflm.h"
int main(void)
{
    int n;
    for (n = 0; n < EE_TFLM_SEGMENTS; n++) {
        const ee_tflm_segment *s = &ee_tflm_segments[n];
        printf("%d %u %u %u %d %d %d\\n", (int)((uintptr_t)s->model % 16), (unsigned)s->model_bytes,
               (unsigned)s->arena_bytes, (unsigned)s->features_bytes, s->logits, s->features, s->threshold);
        fwrite(s->model, 1, s->model_bytes, stdout);
    }
    printf("%s, %s", ee_tflm_labels[0], ee_tflm_labels[1]);
    return 0;
}
"""
# What the example uses of TensorFlow Lite Micro, of which its Python package has no headers.
STANDIN = """
#pragma once
#include <cstddef>
#include <cstdint>
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
struct TfLiteTensor { union { int8_t *int8; } data; size_t bytes; };
namespace tflite {
struct Model {};
const Model* GetModel(const void* buffer);
template <unsigned count> struct MicroMutableOpResolver {
  TfLiteStatus AddAdd(); TfLiteStatus AddConv2D(); TfLiteStatus AddDepthwiseConv2D();
  TfLiteStatus AddFullyConnected(); TfLiteStatus AddMean();
};
struct MicroInterpreter {
  template <typename Resolver>
  MicroInterpreter(const Model* model, const Resolver& resolver, uint8_t* arena, size_t size);
  TfLiteStatus AllocateTensors(); TfLiteStatus Invoke();
  TfLiteTensor* input(size_t index); TfLiteTensor* output(size_t index);
};
}
"""

# Definitions for the stand-in: the logits of all segments come from the standard input, an image at a time.
RUN = """
#define main example_main
#include "main.cc"
#undef main
static int8_t image[EE_TFLM_IMAGE_BYTES], left[EE_TFLM_FEATURES_BYTES], logits[EE_TFLM_SEGMENTS][EE_TFLM_CLASSES];
static TfLiteTensor input = {{image}, 0}, outputs[2] = {{{nullptr}, 0}, {{left}, 0}};
static int current = 0;
namespace tflite {
#define DEFINE(name) template <unsigned n> TfLiteStatus MicroMutableOpResolver<n>::name() { return kTfLiteOk; }
DEFINE(AddAdd) DEFINE(AddConv2D) DEFINE(AddDepthwiseConv2D) DEFINE(AddFullyConnected) DEFINE(AddMean)
const Model* GetModel(const void* model) {
  for (current = 0; ee_tflm_segments[current].model != model; ++current) {}
  return nullptr;
}
template <typename Resolver> MicroInterpreter::MicroInterpreter(const Model*, const Resolver&, uint8_t*, size_t) {}
TfLiteStatus MicroInterpreter::AllocateTensors() { return kTfLiteOk; }
TfLiteStatus MicroInterpreter::Invoke() { outputs[0].data.int8 = logits[current]; return kTfLiteOk; }
TfLiteTensor* MicroInterpreter::input(size_t) { return &::input; }
TfLiteTensor* MicroInterpreter::output(size_t index) { return &outputs[index]; }
}
int main() {
  Resolver resolver;
  Result result;
  while (std::fread(logits, sizeof logits, 1, stdin) == 1 && Run(resolver, image, &result)) {
    std::printf("%d %d %d\\n", result.label, result.exit, result.margin);
  }
}
"""


@pytest.fixture(scope="module")
def files(deployed: Deployment) -> dict[str, str]:
    return tflm.generate(deployed, policy(THRESHOLDS, 2, promise="at most */ 1 %"))


def test_arrays_and_table_hold_the_segments(deployed: Deployment, files: dict[str, str], tmp_path: Path) -> None:
    program = build_texts({**files, "dump.c": DUMP}, tmp_path)
    expected = b""
    for number, (model, segment) in enumerate(zip(deployed.models, deployed.segments(), strict=True)):
        last = number == len(deployed.models) - 1
        shape = segment.features_shape
        size = 0 if shape is None else shape[0] * shape[1] * shape[2]
        row = 0, len(model), arena.measure(model).total, size, 0, -1 if last else 1, [*THRESHOLDS, -1][number]
        expected += (" ".join(map(str, row)) + "\n").encode() + model
    expected += ", ".join(CLASSES).encode()
    assert subprocess.run([program], capture_output=True, check=True).stdout == expected


def test_header_says_what_must_be_there_once(deployed: Deployment, files: dict[str, str]) -> None:
    largest = max(arena.measure(model).total for model in deployed.models)
    assert f"#define EE_TFLM_ARENA_BYTES {largest}\n" in files["ee_tflm.h"]
    assert " * The exit policy that is built in: p50.\n * Promise: at most * / 1 %\n */" in files["ee_tflm.h"]
    assert "#define EE_TFLM_PATIENCE 2 " in files["ee_tflm.h"]
    assert re.findall(r"Add(\w+)\(\)", files["ee_tflm.h"]) == [
        "Add",
        "Conv2D",
        "DepthwiseConv2D",
        "FullyConnected",
        "Mean",
    ]
    assert all(len(line) <= 110 and line == line.rstrip() for text in files.values() for line in text.split("\n"))


@pytest.mark.parametrize("patience", [0, 2, 3])
def test_example_decides_as_the_policy_does(deployed: Deployment, tmp_path: Path, patience: int) -> None:
    """It compiles against a stand-in of TFLM's headers, whose interpreters answer with random logits."""
    for header in (
        "tensorflow/lite/micro/micro_interpreter.h",
        "tensorflow/lite/micro/micro_mutable_op_resolver.h",
        "tensorflow/lite/schema/schema_generated.h",
    ):
        (tmp_path / header).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / header).write_text('#include "standin.h"\n')
    files = tflm.generate(deployed, policy(THRESHOLDS, patience))
    for name, text in {**files, "standin.h": STANDIN, "main.cc": tflm.EXAMPLE.read_text(), "run.cc": RUN}.items():
        (tmp_path / name).write_text(text)
    units = sorted(name for name in files if name.endswith(".c"))
    subprocess.run(["gcc", "-std=c99", "-c", *units], cwd=tmp_path, check=True)
    objects = [name.replace(".c", ".o") for name in units]
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-I.", "run.cc", *objects, "-o", "run"]
    subprocess.run(command, cwd=tmp_path, check=True)
    logits = np.random.default_rng(0).integers(-20, 20, (500, 3, 2)).astype(np.int8)
    answer = subprocess.run([tmp_path / "run"], input=logits.tobytes(), capture_output=True, check=True).stdout
    found = np.array(answer.split(), np.int64).reshape(-1, 3)
    decided = decision.decide(logits.swapaxes(0, 1), THRESHOLDS, patience)
    margins = decision.margins(logits)[np.arange(500), decided.exits]
    np.testing.assert_array_equal(found, np.stack([decided.labels, decided.exits, margins], 1))


def test_a_policy_that_does_not_fit_is_refused(deployed: Deployment) -> None:
    with pytest.raises(ValueError, match="1 threshold for 2 early exits"):
        tflm.generate(deployed, policy([3]))
