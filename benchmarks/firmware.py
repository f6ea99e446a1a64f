"""Compare the firmware's kernels with CMSIS-NN: same segments, compiler, flags and emulated Cortex-M4.

    pip install 'bakenn[tflite]==1.0.0'      in an environment of its own, or --target a folder on PYTHONPATH
    python -m benchmarks.firmware [folder of INT8 segments, models/int8/early_exit by default]

bakenn generates C that calls CMSIS-NN from .tflite files with one output and no MEAN. So both sides run each segment up
to the map that its classifier averages; the rest takes a few thousandths of the cycles. Prints the estimated cycles
of both, their ratio, flash and RAM, then cycles by function, and fails if an answer differs from TFLM's.
"""

import importlib
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from earlyexit.common.markdown import bold, table, thousands
from earlyexit.emulation import compiler, emulate, emulator, report
from earlyexit.emulation.image import Image
from earlyexit.tflite import arena, compact, deployment, reader

VERSION = "1.0.0"
_TAIL = ("MEAN", "FULLY_CONNECTED")
# The operator versions of INT8 files, which bakenn asks for and a compact file need not carry.
_OPERATOR = schema.BuiltinOperator
_VERSIONS = {_OPERATOR.CONV_2D: 3, _OPERATOR.DEPTHWISE_CONV_2D: 3, _OPERATOR.ADD: 2}


@dataclass(frozen=True)
class Side:
    """One segment: estimated cycles in all and by function, bytes of flash, static RAM and stack, and the answer."""

    cycles: int
    functions: dict[str, int]
    flash: int
    ram: int
    stack: int
    answer: NDArray[np.int8]


def main(arguments: Sequence[str]) -> None:
    """Print the comparison for the segments in the folder that `arguments` names.

    Raises:
        SystemExit: bakenn is missing or another version, a file is wrong, or an answer differs.
    """
    try:
        network = deployment.load(Path(arguments[0] if arguments else "models/int8/early_exit"))
        bakenn = _bakenn()
        height, width, channels = network.segments()[0].input_shape
        pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, channels)).astype(np.uint8)
        print(compare(bakenn, network, network.quantize(pixels)))
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None


def compare(bakenn: Any, network: deployment.Deployment, image: NDArray[np.int8]) -> str:
    """Return a table: for each segment of `network` the estimated cycles of one INT8 image (1, H, W, 3) by either side.

    Raises:
        ValueError: a side's answer differs from TFLM's.
    """
    ours = emulate.emulate(network, image)
    rows = []
    totals = np.zeros(2, np.int64)
    functions: Counter[str] = Counter()
    x: NDArray[Any] = image
    for number, (name, model) in enumerate(zip(network.names, network.models, strict=True)):
        theirs = _run(bakenn, body(model), x[0], f"segment{number + 1}")
        expected = arena.run(body(model), x)[0]
        if not np.array_equal(theirs.answer.reshape(expected.shape[1:]), expected[0]):
            raise ValueError(f"segment {number + 1}: bakenn's answer differs from TFLM's")
        mine = sum(count.cycles for _, count in ours.trace.segments[number][0].calls[: -len(_TAIL)])
        totals += mine, theirs.cycles
        functions.update(theirs.functions)
        sizes = map(thousands, (theirs.flash, theirs.ram, theirs.stack))
        rows.append([name, *_ratio(mine, theirs.cycles), *sizes])
        _, features = reader.logits_and_features(arena.run(model, x))
        x = x if features is None else features
    rows.append([bold("all"), *_ratio(*totals.tolist()), "", "", ""])
    memory = report.memory(ours)
    kinds = report.kinds(report.layer_costs(ours))
    lines = [
        *table(["estimated cycles", "ours", "bakenn + CMSIS-NN", "ratio", "flash of the latter", "RAM", "stack"], rows),
        "",
        f"Ours, all segments: {memory['flash']['total']:,} bytes of flash, {memory['ram']['total']:,} of RAM, "
        f"{memory['ram']['stack']:,} of them stack. Every byte of both equals TFLM's.",
        "",
        "Ours by kind of layer: " + _listed({kind: entry["cycles"] for kind, entry in kinds.items()}),
        "bakenn by function: " + _listed(functions),
    ]
    return "\n".join(lines)


def body(model: bytes) -> bytes:
    """Return the segment `model` without its classifier's mean and fully connected layer, its only output their input.

    Raises:
        ValueError: the segment does not end with these two.
    """
    if tuple(operator.name for operator in reader.operators(model)[-2:]) != _TAIL:
        raise ValueError(f"the segment does not end with {' and '.join(_TAIL)}")
    content = reader.unpack(model)
    graph = content.subgraphs[0]
    graph.operators = graph.operators[: -len(_TAIL)]
    graph.outputs = list(graph.operators[-1].outputs)
    for code in content.operatorCodes:
        code.version = _VERSIONS.get(code.builtinCode, code.version)
    return compact.pack(content)


def _ratio(ours: int, theirs: int) -> list[str]:
    return [thousands(ours), thousands(theirs), f"{ours / theirs:.2f}"]


def _listed(counts: Mapping[str, int]) -> str:
    """Return the counts that make a thousandth or more of all, the largest first."""
    total = sum(counts.values())
    largest = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count:,}" for name, count in largest if count >= total / 1000)


def _bakenn() -> Any:
    try:
        bakenn = importlib.import_module("bakenn")
        importlib.import_module("tflite")
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed: pip install 'bakenn[tflite]=={VERSION}'") from None
    if bakenn.__version__ != VERSION:
        raise ValueError(f"bakenn {bakenn.__version__} is installed, the comparison is with {VERSION}")
    return bakenn


def _run(bakenn: Any, model: bytes, x: NDArray[np.int8], name: str) -> Side:
    image, output = _build(bakenn, model, name)
    cycles, functions = 0, Counter[str]()
    for loads_only in (True, False):
        machine = emulator.Machine(image, loads_only=loads_only)
        place = machine.exchange
        machine.write(place, x)
        answer = place + x.nbytes + 16
        with machine.counting() as costs:
            machine.call(f"bknn_{name}_infer", image.symbol("arena").address, place, answer)
        cycles += costs[0].cycles
        for function, count in costs[0].functions.items():
            functions[re.sub(f"^bknn_{name}", "bknn", function)] += count.cycles
    own = ("main.c", "startup.c")
    flash = sum(image.flash(file) for file in image.files if file not in own)
    return Side(cycles, functions, flash, image.ram(), machine.stack(), machine.read(answer, output))


def _build(bakenn: Any, model: bytes, name: str) -> tuple[Image, int]:
    """Return the image, and the bytes of its answer."""
    options = bakenn.CBackendOptions(kernel_policy=bakenn.KernelPolicy.STATIC_PRIORITY, enable_cmsis_nn=True)
    with tempfile.TemporaryDirectory(prefix="earlyexit-") as folder:
        bakenn.compile_tflite(model, folder, name=name, target="cortex-m4", backend_options=options)
        files = [path for path in sorted(Path(folder).rglob("*")) if path.suffix in (".c", ".h")]
        sources = {_name(path, Path(folder)): path.read_text(encoding="utf-8") for path in files}
    macro = f"BKNN_{name.upper()}_ARENA_SIZE"
    sources["main.c"] = (
        f'#include "bknn_{name}.h"\n'
        f"uint8_t arena[{macro}] __attribute__((aligned(16)));\n"
        "int main(void) { for (;;) { } }\n"
    )
    sources["include/math.h"] = ""  # included by CMSIS-NN, and not used
    # bakenn's own copies of memcpy and memset, in words
    defines = ["BAKENN_CMSIS_NN_BUILTIN_MEMORY"]
    image = compiler.build(sources, roots=[f"bknn_{name}_infer", "arena"], defines=defines)
    return image, prod(reader.interface(model)[1][0].shape)


def _name(path: Path, folder: Path) -> str:
    """Return where a file is compiled: headers of CMSIS on the include path, all else as it lies."""
    name = path.relative_to(folder).as_posix()
    return re.sub(r"^third_party/.*/Include/", "include/", name)


if __name__ == "__main__":
    main(sys.argv[1:])
