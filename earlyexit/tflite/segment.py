"""Segments in LiteRT's interpreter, and the cascade that stops at the first exit that is sure enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tqdm import tqdm

from earlyexit.common.pixels import Normalization


@dataclass(frozen=True)
class Quantization:
    """real = scale * (integer - zero_point)"""

    scale: float
    zero_point: int


class Segment:
    """One .tflite file, batch 1, one thread.

    Args:
        model: the file's content; outputs are (logits,) or (logits, features), in any order.
        reference: LiteRT's reference kernels, slow, instead of its optimized ones.
    """

    def __init__(self, model: bytes, *, reference: bool = False) -> None:
        resolver = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
        self._interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=resolver)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        outputs = sorted(self._interpreter.get_output_details(), key=lambda detail: len(detail["shape"]))
        self._logits = outputs[0]
        self._features = outputs[1] if len(outputs) > 1 else None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (H, W, C) of the input."""
        return tuple(int(n) for n in self._input["shape"][1:])

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Map an image or features (H, W, C) to logits (2,) and features (H', W', C'); None for the last segment's."""
        interpreter = self._interpreter
        interpreter.set_tensor(self._input["index"], x[None])
        interpreter.invoke()
        logits = interpreter.get_tensor(self._logits["index"])[0]
        if self._features is None:
            return logits, None
        return logits, interpreter.get_tensor(self._features["index"])[0]

    @property
    def features_shape(self) -> tuple[int, ...] | None:
        """Shape (H, W, C) of the features; None for the last segment."""
        return None if self._features is None else tuple(int(n) for n in self._features["shape"][1:])

    @property
    def input_quantization(self) -> Quantization:
        """Scale and zero point of the input."""
        return _quantization(self._input)

    @property
    def logits_quantization(self) -> Quantization:
        """Scale and zero point of the logits."""
        return _quantization(self._logits)

    @property
    def features_quantization(self) -> Quantization | None:
        """Scale and zero point of the features; None for the last segment."""
        return None if self._features is None else _quantization(self._features)


def all_logits(segments: Sequence[Segment], images: np.ndarray, title: str) -> np.ndarray:
    """Run every segment on every image.

    Args:
        segments: in order.
        images: (N, H, W, 3) in the first segment's type, or features for a chain that starts later.
        title: of the progress bar.

    Returns:
        the logits of every classifier, (classifiers, N, 2).
    """
    rows = []
    for image in tqdm(images, desc=title, unit="image", mininterval=1):
        x: np.ndarray | None = image
        row = []
        for segment in segments:
            assert x is not None
            logits, x = segment(x)
            row.append(logits)
        rows.append(row)
    return np.swapaxes(np.array(rows), 0, 1)


def quantize_images(images: np.ndarray, pixels: Normalization, quantization: Quantization) -> np.ndarray:
    """Return the INT8 input for uint8 images of any shape, by a table of all 256 pixels."""
    levels = np.round(pixels(np.arange(256.0)) / quantization.scale) + quantization.zero_point
    table = np.clip(levels, -128, 127).astype(np.int8)
    found: np.ndarray = table[images]
    return found


def _quantization(detail: dict[str, Any]) -> Quantization:
    scale, zero_point = detail["quantization"]
    return Quantization(float(scale), int(zero_point))
