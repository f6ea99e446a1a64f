"""What each choice of the INT8 quantization costs in accuracy and flash, on one trained network; see `readings`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
from tqdm import tqdm

from earlyexit.common.files import read_json
from earlyexit.common.markdown import bold, table
from earlyexit.common.pixels import Normalization
from earlyexit.dataset import PackedSplit, balanced_up_to, open_split
from earlyexit.evaluation import per_image
from earlyexit.model.architecture import Architecture
from earlyexit.paper import TABLE1
from earlyexit.policy import decision
from earlyexit.quantization.quantize import quantize
from earlyexit.quantization.recipe import Quantizer, Ranges, Weights, check_available
from earlyexit.tflite.segment import Segment, all_logits, quantize_images
from experiments.seeds import cell, over, spread

IMAGES = (500, 100, 10)
"""Calibration images, half of each class."""
UNIT = Normalization(offset=0, divisor=255)
"""Pixels between 0 and 1: a wrong scale for a network that was trained on another."""


@dataclass(frozen=True)
class Choice:
    """A choice of the quantization.

    Attributes:
        quantizer, weights, ranges: as `quantize` takes them.
        images: of the calibration split.
        pixels: own: calibrated on pixels as the network takes them, or [0, 1]: on the wrong scale, which the input's
            range is then taken from too; or [0, 1] inside: the input's range is right.
    """

    quantizer: Quantizer = "litert"
    weights: Weights = "per_channel"
    ranges: Ranges = "extremes"
    images: int = IMAGES[0]
    pixels: str = "own"


WRONG = [
    Choice(pixels="[0, 1]"),
    Choice(quantizer="tensorflow", pixels="[0, 1]"),
    Choice(pixels="[0, 1] inside"),
]


def choices(own: Normalization) -> list[Choice]:
    """Return every choice that a quantizer offers, the default first, for a network that takes pixels as `own`."""
    return [*_offered(), *(WRONG if own != UNIT else [])]


def measure(folder: Path, draw: int) -> list[dict[str, Any]]:
    """Quantize both networks of the finished run in `folder` by every choice; judge them on val.

    Args:
        folder: of the run.
        draw: which calibration images are drawn; 0: those of the ptq stage.

    Returns:
        for each choice: its fields; accuracy minus FP32's of the baseline and of each classifier, "points"; bytes of
        all .tflite files, "flash".
    """
    calibration, val = (open_split(folder / "data" / "packed", name) for name in ("calibration", "val"))
    evaluation = per_image.load(folder / "models" / "evaluation" / "val.safetensors")
    networks = {name: _Network.load(folder / "models" / "export" / name) for name in ("baseline", "early_exit")}
    fp32 = {"baseline": evaluation.fp32_baseline, "early_exit": evaluation.fp32_early_exit}
    rows = []
    for choice in tqdm(choices(networks["baseline"].architecture.pixels), desc="choices", unit="choice"):
        row: dict[str, Any] = {**asdict(choice), "n": len(val), "points": {}, "flash": {}}
        drawn = calibration.images[balanced_up_to(calibration.labels, choice.images, seed=draw)]
        for name, network in networks.items():
            models = network.quantized(choice, drawn)
            gained = _accuracies(network.logits(models, val), val) - _accuracies(fp32[name], val)
            labels = ["baseline"] if name == "baseline" else network.architecture.outputs
            row["points"] |= dict(zip(labels, gained.tolist(), strict=True))
            row["flash"][name] = sum(map(len, models))
        rows.append(row)
    return rows


def summarize(runs: Sequence[Sequence[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return the mean and the deviation over runs of what `measure` returned of each.

    Returns:
        "choices": each choice, its points against FP32 and its flash; "changes": the choices that differ from the
        default in one field, their points and their flash against the default of the same run.
    """
    columns = list(zip(*runs, strict=True))
    fields = list(asdict(Choice()))

    def row(entries: Sequence[dict[str, Any]], bases: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {
            **{key: entries[0][key] for key in (*fields, "n")},
            **{
                kind: {
                    name: spread([a[kind][name] - b[kind][name] for a, b in zip(entries, bases, strict=True)])
                    for name in entries[0][kind]
                }
                for kind in ("points", "flash")
            },
        }

    default = next(column for column in columns if _changed(column[0]) == {})
    zero = {kind: dict.fromkeys(default[0][kind], 0) for kind in ("points", "flash")}
    return {
        "choices": [row(column, [zero] * len(column)) for column in columns],
        "changes": [row(column, default) for column in columns if len(_changed(column[0])) == 1],
    }


def markdown(found: dict[str, list[dict[str, Any]]], seeds: Sequence[int]) -> str:
    """Return what `summarize` returned as two Markdown tables, and which choice costs as much as in the paper."""
    grid, changes = found["choices"], found["changes"]
    classifiers = list(grid[0]["points"])
    measured = [*(f"{name} (points)" for name in classifiers), "Flash, baseline", "Flash, early exits"]
    default = next(row for row in grid if not _changed(row))
    drop = _accuracy("fp32") - _accuracy("int8_baseline")
    costly = [_words(row) for row in grid if row["points"]["baseline"]["mean"] <= -drop]
    described = ["quantizer", "weights", "ranges", "images", "pixels"]
    lines = [
        *table(
            ["Change", *measured],
            [
                [bold("default, against FP32"), *_cells(default, "+", "")],
                *([_change(row), *_cells(row, "+", "+")] for row in changes),
            ],
        ),
        "",
        f"Against the default ({_words(default)}) of the same run: {over(seeds)}, each with its own draw of "
        f"calibration images; n = {default['n']:,} val images. Flash: bytes of the .tflite files.",
        "",
        *table(
            [*(name.capitalize() for name in described), *measured],
            [[*(str(row[key]) for key in described), *_cells(row, "+", "")] for row in grid],
            labels=len(described),
        ),
        "",
        "Every choice that a quantizer offers, against FP32. Pixels: the scale of the calibration images; [0, 1]: "
        "wrong, and the range of the input with it; [0, 1] inside: wrong, but the range of the input is right.",
        "",
        f"The paper's baseline loses {100 * drop:.2f} points. As much or more is lost by: "
        f"{'; '.join(costly) or 'none of these choices'}.",
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Network:
    """A network's float segments."""

    architecture: Architecture
    models: list[bytes]

    @classmethod
    def load(cls, folder: Path) -> "_Network":
        architecture = Architecture.model_validate(read_json(folder / "architecture.json"), strict=False)
        names = [f"segment{number}.float.tflite" for number in range(1, len(architecture.outputs) + 1)]
        return cls(architecture, [(folder / name).read_bytes() for name in names])

    def quantized(self, choice: Choice, images: np.ndarray) -> list[bytes]:
        """Return the INT8 segments, calibrated on uint8 images."""
        own = self.architecture.pixels
        seen = own if choice.pixels == "own" else UNIT
        of_input = UNIT if choice.pixels == "[0, 1]" else own
        return quantize(
            self.models, seen.images(images), of_input.range, choice.quantizer, choice.weights, choice.ranges
        )

    def logits(self, models: Sequence[bytes], split: PackedSplit) -> np.ndarray:
        """Return the INT8 logits of a split, whose pixels are on the network's own scale."""
        segments = [Segment(model) for model in models]
        images = quantize_images(split.images, self.architecture.pixels, segments[0].input_quantization)
        return all_logits(segments, images, "val images")


def _offered() -> Iterator[Choice]:
    for quantizer, weights, ranges in product(get_args(Quantizer), get_args(Weights), get_args(Ranges)):
        try:
            check_available(quantizer, weights, ranges)
        except ValueError:
            continue
        yield from (Choice(quantizer, weights, ranges, images) for images in IMAGES)


def _accuracies(logits: np.ndarray, split: PackedSplit) -> np.ndarray:
    found: np.ndarray = (decision.labels(logits) == split.labels).mean(1)
    return found


def _accuracy(name: str) -> float:
    accuracy = TABLE1[name]["accuracy"]
    assert accuracy is not None
    return accuracy


def _changed(row: dict[str, Any]) -> dict[str, Any]:
    """Return the fields in which a row differs from the default choice."""
    return {key: row[key] for key, value in asdict(Choice()).items() if row[key] != value}


def _change(row: dict[str, Any]) -> str:
    ((key, value),) = _changed(row).items()
    return f"{key}: {value}"


def _words(row: dict[str, Any]) -> str:
    pixels = "" if row["pixels"] == "own" else f", pixels {row['pixels']}"
    return f"{row['quantizer']}, {row['weights']}, {row['ranges']}, {row['images']} images{pixels}"


def _cells(row: dict[str, Any], points: str, flash: str) -> list[str]:
    sizes = [f"{found['mean']:{flash},.0f}" for found in row["flash"].values()]
    return [*(cell(found, 100, points) for found in row["points"].values()), *sizes]
