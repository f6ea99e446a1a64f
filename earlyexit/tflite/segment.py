"""Run segments in LiteRT's interpreter, one after the other."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tqdm import tqdm

from earlyexit.common.pixels import Normalization
from earlyexit.tflite.reader import Tensor, interface, logits_and_features


@dataclass(frozen=True)
class Quantization:
    """real = scale * (integer - zero_point)"""

    scale: float
    zero_point: int

    def agrees_with(self, other: "Quantization") -> bool:
        """Return whether integers of one quantization can be used in the other unchanged.

        TensorFlow's quantizer computes the scale of features twice, in the segments before and behind them; the two
        differ in the last bits.
        """
        return self.zero_point == other.zero_point and math.isclose(self.scale, other.scale, rel_tol=1e-6)


class Segment:
    """One .tflite file in the interpreter; batch 1, one thread.

    Args:
        model: content of the file; its outputs are (logits,) or (logits, features), in any order.
        reference: use LiteRT's reference kernels, which are slow, instead of its optimized ones.
    """

    def __init__(self, model: bytes, *, reference: bool = False) -> None:
        (self._input,), outputs = interface(model)
        self._logits, self._features = logits_and_features(outputs)
        resolver = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
        self._interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=resolver)
        self._interpreter.allocate_tensors()

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Map an image or features (H, W, C) to logits (2,) and features (H', W', C'); None for the last segment's."""
        interpreter = self._interpreter
        interpreter.set_tensor(self._input.index, x[None])
        interpreter.invoke()
        logits = interpreter.get_tensor(self._logits.index)[0]
        if self._features is None:
            return logits, None
        return logits, interpreter.get_tensor(self._features.index)[0]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (H, W, C) of the input."""
        return self._input.shape[1:]

    @property
    def features_shape(self) -> tuple[int, ...] | None:
        """Shape (H, W, C) of the features; None for the last segment."""
        return None if self._features is None else self._features.shape[1:]

    @property
    def input_quantization(self) -> Quantization:
        """Scale and zero point of the input of an INT8 segment."""
        return _quantization(self._input)

    @property
    def logits_quantization(self) -> Quantization:
        """Scale and zero point of the logits of an INT8 segment."""
        return _quantization(self._logits)

    @property
    def features_quantization(self) -> Quantization | None:
        """Scale and zero point of the features of an INT8 segment; None for the last segment."""
        return None if self._features is None else _quantization(self._features)


def run_in_turn(segments: Sequence[Segment], image: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the logits (2,) of each segment, which takes the features of the segment before.

    A segment runs only when its logits are asked for, so a caller that stops early saves the other segments.

    Args:
        segments: in order.
        image: (H, W, 3) in the type of the first segment's input; features if `segments` start later.
    """
    x: np.ndarray | None = image
    for segment in segments:
        assert x is not None
        logits, x = segment(x)
        yield logits


def all_logits(segments: Sequence[Segment], images: np.ndarray, title: str | None = None) -> np.ndarray:
    """Run every segment on every image.

    Args:
        segments: in order.
        images: (N, H, W, 3) in the type of the first segment's input; features if `segments` start later.
        title: of the progress bar; None: there is no bar.

    Returns:
        the logits of every classifier, (classifiers, N, 2).
    """
    shown = tqdm(images, desc=title, unit="image", mininterval=1, disable=title is None)
    rows = [list(run_in_turn(segments, image)) for image in shown]
    return np.swapaxes(np.array(rows), 0, 1)


def quantize_images(images: np.ndarray, pixels: Normalization, quantization: Quantization) -> np.ndarray:
    """Return the INT8 input for uint8 images of any shape, by a table of all 256 pixels."""
    levels = np.round(pixels(np.arange(256.0)) / quantization.scale) + quantization.zero_point
    table = np.clip(levels, -128, 127).astype(np.int8)
    found: np.ndarray = table[images]
    return found


def _quantization(tensor: Tensor) -> Quantization:
    assert tensor.scale is not None
    assert tensor.zero_point is not None
    return Quantization(tensor.scale, tensor.zero_point)
