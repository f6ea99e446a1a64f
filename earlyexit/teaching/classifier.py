"""Classifiers from elsewhere, .tflite or .onnx: what they take, and what they answer to one image.

Such a file is data. LiteRT runs it with its built-in operators alone, without custom operators and without the Flex
delegate, and ONNX Runtime with the operators that it brings. Neither loads a library that a file names.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx.external_data_helper import load_external_data_for_model

from earlyexit.common.pixels import Normalization
from earlyexit.common.vision import v2
from earlyexit.tflite.reader import interface
from earlyexit.tflite.segment import Segment

_TYPES = ("float32", "uint8", "int8")
_FATAL = 4  # severity below which ONNX Runtime prints nothing


class _Port(NamedTuple):
    """Shape and type of an input or an output; a size that is not fixed is a name or None."""

    shape: Sequence[int | str | None]
    dtype: str


class Classifier:
    """A classifier of RGB images; one image at a time, on one thread.

    Args:
        path: a .tflite or .onnx file. Its input is 1 x H x W x 3 or 1 x 3 x H x W of uint8, int8 or float32, its output
            1 x classes, probabilities or logits; the batch may be open.
        pixels: the normalization of a float32 input. A quantized input takes bytes: the pixel for uint8, pixel - 128
            for int8. That is the model's own scale where it was quantized for the whole range of pixels.

    Attributes:
        sha256: of the file, with the weights that an .onnx file keeps in files beside it.
        height, width: of the input, in pixels.
        quantized: whether the input is.
        step: between two values of a quantized output; 0 for a float one.

    Raises:
        FileNotFoundError, ValueError: the file is missing, damaged, cannot be run, or is no such classifier; one line
            that names teacher.model and the file.
    """

    def __init__(self, path: Path, pixels: Normalization) -> None:
        if path.suffix not in (".tflite", ".onnx"):
            raise ValueError(f"teacher.model: {path}: must be a .tflite or .onnx file")
        if not path.is_file():
            raise FileNotFoundError(f"teacher.model: {path}: no such file")
        self._path, self._pixels = path, pixels
        with self._explained():
            content = _content(path)
            self._model = _Tflite(content) if path.suffix == ".tflite" else _Onnx(content)
        self._check(self._model.inputs, self._model.outputs)
        shape, self._type = self._model.inputs[0]
        self._channels_last = shape[3] == 3
        self.height, self.width = _sides(shape)
        self.quantized = self._type != "float32"
        self.step = self._model.step
        self.sha256 = hashlib.sha256(content).hexdigest()

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the output (classes,) for an image (R, R, 3), resized to the input: bilinear, with antialiasing."""
        planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        resized = v2.functional.resize(planes, [self.height, self.width], antialias=True)
        x = self._input(resized.permute(1, 2, 0).numpy())
        with self._explained():
            return self._model(np.ascontiguousarray(x if self._channels_last else x.transpose(2, 0, 1)))

    def _input(self, image: NDArray[np.uint8]) -> np.ndarray:
        if self._type == "uint8":
            return image
        if self._type == "int8":
            return (image.astype(np.int16) - 128).astype(np.int8)
        return self._pixels.images(image)

    def _check(self, inputs: Sequence[_Port], outputs: Sequence[_Port]) -> None:
        if len(inputs) != 1 or len(outputs) != 1:
            raise self._unfit(f"has {len(inputs)} inputs and {len(outputs)} outputs; needed is one of each")
        ((image, kind), (answer, answer_kind)) = inputs[0], outputs[0]
        if len(image) != 4 or 3 not in (image[1], image[3]):
            raise self._unfit(f"takes {_text(image)}; needed is 1 x H x W x 3 or 1 x 3 x H x W")
        if not all(isinstance(size, int) and size > 1 for size in _sides(image)):
            raise self._unfit(f"takes {_text(image)}; needed are a fixed height and width")
        if isinstance(image[0], int) and image[0] != 1:
            raise self._unfit(f"takes {_text(image)}; needed is a batch of 1, or an open one")
        if kind not in _TYPES or answer_kind not in _TYPES:
            raise self._unfit(f"takes {kind} and answers with {answer_kind}; known are {', '.join(_TYPES)}")
        if len(answer) != 2 or answer[1] == 1:
            raise self._unfit(f"answers with {_text(answer)}; needed is 1 x classes, of two classes or more")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:  # What a damaged file leads the two runtimes to has no class in common.
            raise self._unfit(f"cannot be run ({' '.join(str(error).split())[:300]})") from None

    def _unfit(self, why: str) -> ValueError:
        return ValueError(f"teacher.model: {self._path}: {why}")


class _Tflite:
    def __init__(self, content: bytes) -> None:
        self._content = content
        inputs, outputs = interface(content)
        self.inputs = [_Port(port.shape, port.dtype) for port in inputs]
        self.outputs = [_Port(port.shape, port.dtype) for port in outputs]
        self.step, self._zero_point = 0.0, 0
        if outputs and outputs[0].dtype != "float32":
            self.step, self._zero_point = outputs[0].scale or 1.0, outputs[0].zero_point or 0

    @cached_property
    def _segment(self) -> Segment:
        return Segment(self._content)  # Takes one input; how many there are is checked before.

    def __call__(self, image: np.ndarray) -> NDArray[np.float32]:
        answer, _ = self._segment(image)
        if answer.dtype == np.float32:
            return answer.copy()
        return np.float32(self.step) * (answer.astype(np.float32) - self._zero_point)


class _Onnx:
    step = 0.0

    def __init__(self, content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.inputs, self.outputs = (
            [_Port(port.shape, _onnx_type(port.type)) for port in p] for p in (inputs, outputs)
        )

    def __call__(self, image: np.ndarray) -> NDArray[np.float32]:
        (answer,) = self._session.run(None, {self._session.get_inputs()[0].name: image[None]})
        found: NDArray[np.float32] = answer[0]
        return found


def _content(path: Path) -> bytes:
    """Return the content of a file; weights beside an .onnx file, which must lie in its folder, are put into it."""
    content = path.read_bytes()
    if path.suffix == ".tflite":
        return content
    model = onnx.load_model_from_string(content)
    before = model.SerializeToString(deterministic=True)
    load_external_data_for_model(model, str(path.parent))
    whole: bytes = model.SerializeToString(deterministic=True)
    return content if whole == before else whole


def _onnx_type(name: str) -> str:
    """Return NumPy's name of ONNX Runtime's type: float32 for tensor(float)."""
    name = name.removeprefix("tensor(").removesuffix(")")
    return "float32" if name == "float" else name


def _sides(shape: Sequence[int | str | None]) -> tuple[int, int]:
    """Return height and width of an input of four sizes."""
    height, width = shape[1:3] if shape[3] == 3 else shape[2:]
    return height, width  # type: ignore[return-value]  # numbers, where the shape has been checked


def _text(shape: Sequence[int | str | None]) -> str:
    return " x ".join("?" if size is None else str(size) for size in shape) or "one number"
