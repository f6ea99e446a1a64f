"""What the page shows and no other report holds: decisions of every image, percentiles, the arena, the machine."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from earlyexit.evaluation.costs import Costs
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.firmware import source
from earlyexit.policy import decision
from earlyexit.policy.thresholds import Thresholds
from earlyexit.tflite.deployment import Deployment


def record(
    evaluation: Evaluation,
    network: Deployment,
    thresholds: Thresholds,
    costs: Mapping[str, Costs],
) -> dict[str, Any]:
    """Return the record of a run; JSON of a few bytes an image.

    Args:
        evaluation: logits on the val split.
        network: the INT8 early-exit network.
        thresholds: of the percentiles.
        costs: in each unit.
    """
    logits = evaluation.int8_early_exit
    return {
        "names": network.names,
        "n": len(evaluation.labels),
        "labels": _bits(evaluation.labels),
        "answers": [_bits(row) for row in decision.labels(logits)],
        "margins": [_text(row.astype(np.uint8)) for row in decision.margins(logits)],
        "percentiles": thresholds.margins,
        "costs": {unit: asdict(cost) for unit, cost in costs.items()},
        "arena": arena(network),
    }


def arena(network: Deployment) -> dict[str, Any]:
    """Return the arena of the C library: each buffer with its bytes, and the layers between which it is in use."""
    layout = source.lay_out(source.read(network.models))
    return {
        "bytes": layout.plan.size,
        "layers": [step.name for step in layout.steps],
        "buffers": [
            {
                "name": buffer.name,
                "from": layout.plan.offsets[buffer.name],
                "bytes": buffer.size,
                "first": buffer.first,
                "last": buffer.last,
            }
            for buffer in layout.buffers
        ],
    }


def unpacked(found: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels (N,), answers (classifiers, N) and margins (classifiers, N) of a record.

    Raises:
        ValueError: a text is damaged, or its length is not that of the images.
    """
    n = int(found["n"])
    try:
        bits = [np.frombuffer(base64.b64decode(text), np.uint8) for text in (found["labels"], *found["answers"])]
        margins = [np.frombuffer(base64.b64decode(text), np.uint8) for text in found["margins"]]
    except binascii.Error as error:
        raise ValueError(f"its decisions are damaged ({error})") from error
    if any(len(row) != -(-n // 8) for row in bits) or any(len(row) != n for row in margins):
        raise ValueError(f"its decisions are not those of {n} images")
    rows = np.array([np.unpackbits(row, count=n) for row in bits])
    return rows[0], rows[1:], np.array(margins)


def _bits(values: np.ndarray) -> str:
    return _text(np.packbits(values.astype(bool)))


def _text(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
