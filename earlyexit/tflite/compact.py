"""Pack a .tflite file small, without changing an answer."""

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import strip_strings

from earlyexit.tflite.reader import IDENTIFIER, unpack

_BUFFER_ALIGNMENT = 16  # Buffer.data in TensorFlow Lite's schema.fbs: force_align


def compact(model: bytes) -> bytes:
    """Return the .tflite file `model` without what a microcontroller does not need, its equal vectors stored once.

    Left out: names, description, signatures, metadata, calibration ranges, empty quantization records and unused
    buffers. Shared: equal buffers, and all vectors of equal content. Most is saved by sharing the per-channel zero
    points, which are 64-bit zeros, 8 bytes a channel. Weights that lie behind the flatbuffer (`Buffer.offset` in the
    schema) are put into it, since TensorFlow Lite Micro misses them there; ai-edge-quantizer writes buffers of 1 KiB
    and more so if they sum to 256 KiB or more. Buffers keep their 16-byte alignment; tensors, operators, inputs and
    outputs keep their order; the answers stay the same bit by bit. Equal input gives equal bytes, and a compact file
    comes back unchanged.

    Raises:
        ValueError: `model` is no .tflite file, or is damaged.
    """
    content = unpack(model)
    strip_strings(content)
    content.metadata = content.metadataBuffer = None
    for graph in content.subgraphs:
        for tensor in graph.tensors:
            tensor.quantization = _trim(tensor.quantization)
    _share_buffers(content)
    return pack(content)


def pack(content: Any) -> bytes:
    """Return the ModelT `content` as a .tflite file in which vectors of equal content are stored once."""
    builder = _SharingBuilder(1024)
    builder.Finish(content.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that writes a vector only if none of the same content has been written.

    Offsets in a flatbuffer point forward to what was written before, so one vector can have any number of owners.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._offsets: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray[Any, Any]) -> int:  # noqa: N802
        key = (x.dtype.str, x.tobytes())
        if key not in self._offsets:
            self._offsets[key] = super().CreateNumpyVector(x)
        return self._offsets[key]

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        # Python's generated code ignores force_align; a vector of bytes is the data of a buffer.
        return int(super().StartVector(elemSize, numElems, _BUFFER_ALIGNMENT if elemSize == 1 else alignment))


def _trim(quantization: Any) -> Any:
    """Return the record without the calibration range, which no runtime reads; None if it has no scale."""
    if quantization is None or quantization.scale is None or len(quantization.scale) == 0:
        return None
    quantization.min = quantization.max = None
    return quantization


def _share_buffers(content: Any) -> None:
    """Keep one buffer of each content that a tensor uses; by convention number 0 is the empty one."""
    numbers = {b"": 0}
    shared: dict[int, int] = {}
    buffers = [schema.BufferT()]
    for graph in content.subgraphs:
        for tensor in graph.tensors:
            if tensor.buffer not in shared:
                buffer = content.buffers[tensor.buffer]
                data = b"" if buffer.data is None else bytes(buffer.data)
                if data not in numbers:
                    numbers[data] = len(buffers)
                    buffers.append(buffer)
                shared[tensor.buffer] = numbers[data]
            tensor.buffer = shared[tensor.buffer]
    content.buffers = buffers
