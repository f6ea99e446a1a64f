"""A .tflite file packed small, without changing an answer."""

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import strip_strings

from earlyexit.tflite.reader import _IDENTIFIER, _parsed, _trimmed

_BUFFER_ALIGNMENT = 16  # Buffer.data in TensorFlow Lite's schema.fbs: force_align


def compact(model: bytes) -> bytes:
    """Return the .tflite file `model` without what a microcontroller does not need, its equal vectors stored once.

    Left out: names, description, signatures, metadata, calibration ranges, empty quantization records and unused
    buffers. Shared: equal buffers, and all vectors of equal content; above all the per-channel zero points, which are
    64-bit zeros, 8 bytes a channel. Weights that lie behind the flatbuffer (`Buffer.offset` in the schema: so
    ai-edge-quantizer writes buffers of 1 KiB and more that sum to 256 KiB or more) are put into it, since TensorFlow
    Lite Micro misses them there. Buffers keep their 16-byte alignment; tensors, operators, inputs and outputs keep
    their order; the answers stay the same bit by bit. Equal input gives equal bytes, and a compact file comes back
    unchanged.

    Raises:
        ValueError: `model` is no .tflite file, or a damaged one.
    """
    content = _parsed(model)
    strip_strings(content)
    content.metadata = content.metadataBuffer = None
    for graph in content.subgraphs:
        for tensor in graph.tensors:
            tensor.quantization = _trimmed(tensor.quantization)
    _share_buffers(content)
    return pack(content, limit=len(model))


def pack(content: Any, limit: int | None = None) -> bytes:
    """Return the ModelT `content` as a .tflite file in which vectors of equal content are stored once.

    Raises:
        ValueError: these vectors have more than `limit` bytes.
    """
    builder = _SharingBuilder(limit)
    builder.Finish(content.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes a vector only where none of the same content has been written yet.

    Offsets in a flatbuffer point forward to what was written before, so one vector can have any number of owners.
    """

    def __init__(self, limit: int | None) -> None:
        super().__init__(1024)
        self._offsets: dict[tuple[str, bytes], int] = {}
        self._left = limit

    def CreateNumpyVector(self, x: np.ndarray[Any, Any]) -> int:  # noqa: N802
        key = (x.dtype.str, x.tobytes())
        if key not in self._offsets:
            if self._left is not None:
                self._left -= x.nbytes
                if self._left < 0:
                    raise ValueError("damaged .tflite file: its vectors overlap")
            self._offsets[key] = super().CreateNumpyVector(x)
        return self._offsets[key]

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        # Python's generated code knows nothing of force_align; bytes are what buffers hold.
        return int(super().StartVector(elemSize, numElems, _BUFFER_ALIGNMENT if elemSize == 1 else alignment))


def _share_buffers(content: Any) -> None:
    """Keep one buffer of each content that a tensor uses; number 0 is the empty one by convention."""
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
