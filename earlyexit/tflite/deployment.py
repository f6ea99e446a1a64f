"""Save and load what a device gets: INT8 segment files, and a manifest that describes their inputs and outputs."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from earlyexit.common.files import read_json, write_json
from earlyexit.common.pixels import Normalization
from earlyexit.task import CLASSES
from earlyexit.tflite import reader
from earlyexit.tflite.segment import Quantization, Segment, quantize_images

MANIFEST = "manifest.json"


class _Entry(BaseModel):
    file: Annotated[str, Field(pattern=r"^\w+\.tflite$")]  # beside the manifest, nowhere else
    sha256: str
    classifier: Annotated[str, Field(pattern=r"^(exit\d{1,3}|final)$")]
    macs: Annotated[int, Field(ge=0)]


class _Manifest(BaseModel):
    segments: Annotated[list[_Entry], Field(min_length=1, max_length=1000)]
    pixels: Normalization


@dataclass(frozen=True)
class Deployment:
    """The INT8 segments of one network.

    Attributes:
        names: of the classifiers, in order: exit1, ..., final.
        models: content of each segment's .tflite file, in order.
        macs: multiply-accumulates of each segment, its exit head included.
        pixels: how the network normalizes a pixel.
    """

    names: list[str]
    models: list[bytes]
    macs: list[int]
    pixels: Normalization

    def segments(self, *, reference: bool = False) -> list[Segment]:
        """Return an interpreter for each segment, as `Segment`."""
        return [Segment(model, reference=reference) for model in self.models]

    def quantize(self, images: np.ndarray) -> np.ndarray:
        """Map uint8 images (N, H, W, 3) to the first segment's INT8 input."""
        return quantize_images(images, self.pixels, Segment(self.models[0]).input_quantization)

    def logits_scales(self) -> list[float]:
        """Return the scale of each classifier's INT8 logits; an integer margin times it is a margin of real logits."""
        return [segment.logits_quantization.scale for segment in self.segments()]


def save(folder: Path, deployment: Deployment, quantizer: str) -> None:
    """Write the .tflite files and the manifest of `deployment` into the existing `folder`."""
    segments = deployment.segments()
    entries = []
    for number, (model, segment) in enumerate(zip(deployment.models, segments, strict=True), start=1):
        name = f"segment{number}.tflite"
        (folder / name).write_bytes(model)
        entries.append(
            {
                "file": name,
                "sha256": hashlib.sha256(model).hexdigest(),
                "bytes": len(model),
                "macs": deployment.macs[number - 1],
                "classifier": deployment.names[number - 1],
                "input": _tensor(segment.input_shape, segment.input_quantization),
                "logits": _tensor((len(CLASSES),), segment.logits_quantization),
                "features": _features(segment),
            }
        )
    manifest = {
        "labels": list(CLASSES),
        "quantizer": quantizer,
        "pixels": {
            "note": "int8 input = round((pixel - offset) / divisor / scale) + zero_point of the first segment's input",
            **deployment.pixels.model_dump(),
        },
        "segments": entries,
    }
    write_json(folder / MANIFEST, manifest)


def load(folder: Path) -> Deployment:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError: the manifest or a segment is missing.
        ValueError: the manifest is not valid, or a segment is not the file that the manifest describes; names the file.
    """
    try:
        manifest = _Manifest.model_validate(read_json(folder / MANIFEST))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the whole file"
        raise ValueError(f"{folder / MANIFEST}: not a manifest of segments: {field}: {first['msg']}") from error
    entries = manifest.segments
    return Deployment(
        names=[entry.classifier for entry in entries],
        models=[_checked(folder / entry.file, entry.sha256) for entry in entries],
        macs=[entry.macs for entry in entries],
        pixels=manifest.pixels,
    )


def macs(model: bytes) -> int:
    """Return the multiply-accumulates of one .tflite file."""
    return sum(operator.macs for operator in reader.operators(model))


def _checked(path: Path, sha256: str) -> bytes:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{path}: not the file that {MANIFEST} names (SHA-256 differs); rerun the ptq stage")
    return content


def _tensor(shape: tuple[int, ...], quantization: Quantization) -> dict[str, Any]:
    return {"shape": list(shape), **asdict(quantization)}


def _features(segment: Segment) -> dict[str, Any] | None:
    if segment.features_quantization is None or segment.features_shape is None:
        return None
    return _tensor(segment.features_shape, segment.features_quantization)
