import re
import subprocess
from pathlib import Path

import pytest

from earlyexit.firmware import tflm
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
    assert " * The exit policy that is built in: p50.\n * It promises: at most * / 1 %\n */" in files["ee_tflm.h"]
    assert "#define EE_TFLM_PATIENCE 2 " in files["ee_tflm.h"]
    assert re.findall(r"Add(\w+)\(\)", files["ee_tflm.h"]) == [
        "Add",
        "Conv2D",
        "DepthwiseConv2D",
        "FullyConnected",
        "Mean",
    ]
    assert all(len(line) <= 110 and line == line.rstrip() for text in files.values() for line in text.split("\n"))


def test_example_is_cpp_that_fits_the_header(files: dict[str, str], tmp_path: Path) -> None:
    for header in (
        "tensorflow/lite/micro/micro_interpreter.h",
        "tensorflow/lite/micro/micro_mutable_op_resolver.h",
        "tensorflow/lite/schema/schema_generated.h",
    ):
        (tmp_path / header).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / header).write_text('#include "standin.h"\n')
    (tmp_path / "standin.h").write_text(STANDIN)
    (tmp_path / "ee_tflm.h").write_text(files["ee_tflm.h"])
    (tmp_path / "main.cc").write_text(tflm.EXAMPLE.read_text())
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I.", "main.cc"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_a_policy_that_does_not_fit_is_refused(deployed: Deployment) -> None:
    with pytest.raises(ValueError, match="1 threshold for 2 early exits"):
        tflm.generate(deployed, policy([3]))
