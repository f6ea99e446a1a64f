"""Throughput of prepare beside the bare decoding and resizing of the same photographs by as many processes.

Run from the project root, after the download stage: python -m benchmarks.prepare
"""

import os
import tempfile
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

from earlyexit import coco
from earlyexit.coco import Photograph
from earlyexit.packing import decode, pack
from earlyexit.params import DataParams, load

RAW = Path("data/raw")
GOAL = 0.7
PASSES = 3


def bare(data: DataParams, workers: int) -> float:
    """Return images/s of reading and decoding, nothing passed back."""
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(abs, range(workers)))
        listed = {split: coco.read_instances(coco.annotations_path(RAW, split)).photographs for split in coco.SPLITS}
        start = time.perf_counter()
        images = 0
        for split, photographs in listed.items():
            parts = [photographs[first::workers] for first in range(workers)]
            images += sum(pool.map(partial(_decode_all, split, data.resolution), parts))
        return images / (time.perf_counter() - start)


def whole(data: DataParams, workers: int) -> float:
    """Return images/s of everything that the stage does."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        summary = pack(
            RAW,
            Path(folder) / "packed",
            source=data.source,
            resolution=data.resolution,
            min_person_area=data.min_person_area,
            calibration_share=data.calibration_share,
            max_skipped=data.max_skipped,
            workers=workers,
        )
        return int(summary["skipped"]["listed"]) / (time.perf_counter() - start)


def main() -> None:
    """Time both in turn and print the ratio of the medians."""
    data = load().data
    workers = len(os.sched_getaffinity(0))
    pairs = [(whole(data, workers), bare(data, workers)) for _ in range(PASSES)]
    prepare, decoding = (median(column) for column in zip(*pairs, strict=True))
    print(f"prepare {prepare:.0f} images/s, bare decoding {decoding:.0f} images/s, {workers} processes")
    print(f"ratio {prepare / decoding:.2f} (goal: {GOAL} or more)")


def _decode_all(split: str, resolution: int, photographs: Sequence[Photograph]) -> int:
    with zipfile.ZipFile(coco.archive_path(RAW, split)) as archive:
        for photograph in photographs:
            content = archive.read(coco.member_name(split, photograph.file_name))
            decode(content, photograph.width, photograph.height, resolution)
    return len(photographs)


if __name__ == "__main__":
    main()
