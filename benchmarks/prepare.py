"""Compare the throughput of prepare with bare decoding and resizing by as many processes, and print its memory.

Run from the project root, after the download stage: python -m benchmarks.prepare
With --members N it generates N photographs, in zips with COCO 2014's layout, and removes them afterwards.
"""

import argparse
import io
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from types import TracebackType

import numpy as np
from PIL import Image
from tqdm import tqdm

from earlyexit.common import pool
from earlyexit.packing.decode import decode
from earlyexit.params import DataParams, load
from earlyexit.raw import coco, layout, zips
from earlyexit.raw.coco import Photograph
from earlyexit.raw.zips import Member
from stages.prepare import prepare

RAW = Path("data/raw")
GOAL = 0.7
PASSES = 3

_CHUNK = 256
_PAGE = os.sysconf("SC_PAGE_SIZE")
_WIDTH, _HEIGHT = 320, 240


class Peak:
    """The largest sum of the resident sets of this process and its children, in bytes, sampled 50 times a second."""

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.bytes = max(self.bytes, sum(map(_resident, _family(os.getpid()))))


def bare(raw: Path, data: DataParams, workers: int) -> float:
    """Return the images per second of reading and decoding alone."""
    stored = layout.stored(raw)
    listed = [
        (photograph, stored[split][photograph.file_name])
        for split in layout.SOURCE_SPLITS
        for photograph in coco.read_instances(layout.annotations_path(raw, split), "area").photographs
    ]
    chunks = [listed[start : start + _CHUNK] for start in range(0, len(listed), _CHUNK)]
    with pool.workers(workers) as processes:
        list(processes.map(partial(_decode_all, data.resolution), [listed[:1]] * workers))
        start = time.perf_counter()
        images = sum(processes.map(partial(_decode_all, data.resolution), chunks))
        return images / (time.perf_counter() - start)


def whole(raw: Path, data: DataParams, workers: int) -> float:
    """Return the images per second of the whole stage."""
    with tempfile.TemporaryDirectory(dir=raw.parent) as folder:
        start = time.perf_counter()
        summary = prepare(data, raw, Path(folder) / "packed", workers)
        return int(summary["skipped"]["listed"]) / (time.perf_counter() - start)


def write_members(folder: Path, count: int) -> None:
    """Write the raw layout of `count` small photographs, two thirds of them train, seven boxes each as in COCO."""
    contents = [_jpeg(seed) for seed in range(16)]
    first = 0
    for split, last in (("train", 2 * count // 3), ("val", count)):
        names = [f"COCO_{split}2014_{i:012}.jpg" for i in range(first, last)]
        # What follows a JPEG's end marker is not looked at, and makes every file another one.
        photographs = ((name, contents[i % 16] + i.to_bytes(4)) for i, name in enumerate(names, first))
        images = [
            {"id": i, "file_name": layout.member_name(f"{split}2014", name), "width": _WIDTH, "height": _HEIGHT}
            for i, name in enumerate(names, first)
        ]
        annotations = [
            {
                "image_id": i,
                "category_id": 2 if number == 0 and i % 2 else number + 1,
                "bbox": [1.5, 2.25, 200.5, 130.75],
                "area": 13000.5,
                "iscrowd": 0,
            }
            for i in range(first, last)
            for number in range(7)
        ]
        categories = [
            {"id": number, "name": f"category {number}" if number > 1 else "person"} for number in range(1, 8)
        ]
        content = {"images": images, "annotations": annotations, "categories": categories}
        layout.write_instances(folder, split, content)
        progress = tqdm(photographs, f"write {split}", len(names))
        layout.write_photographs(layout.archive_path(folder, f"{split}2014"), progress)
        first = last


def main() -> None:
    """Time both in turn, and print the ratio of the medians and the peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, help="generate so many photographs (default: those of data/raw)")
    parser.add_argument("--folder", type=Path, help="where to generate them (default: the folder of temporary files)")
    parser.add_argument("--passes", type=int, default=PASSES)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    chosen = parser.parse_args()
    data = load().data
    with tempfile.TemporaryDirectory(dir=chosen.folder) if chosen.members else nullcontext() as folder:
        raw = Path(folder, "raw") if folder else RAW
        if folder:
            with pool.workers(1) as one:  # Its memory is not to be counted.
                one.submit(write_members, raw, chosen.members).result()
        pairs = []
        for number in range(1, chosen.passes + 1):
            with Peak() as peak:
                rate = whole(raw, data, chosen.workers)
            print(
                f"pass {number}: prepare {rate:.0f} images/s, memory of all processes at most {peak.bytes / 1e6:.0f} MB"
            )
            pairs.append((rate, bare(raw, data, chosen.workers)))
    packing, decoding = (median(column) for column in zip(*pairs, strict=True))
    print(f"prepare {packing:.0f} images/s, bare decoding {decoding:.0f} images/s, {chosen.workers} processes")
    print(f"ratio {packing / decoding:.2f} (goal: {GOAL} or more)")


def _decode_all(resolution: int, listed: Sequence[tuple[Photograph, Member]]) -> int:
    for photograph, member in listed:
        decode(zips.read(member), photograph.width, photograph.height, resolution)
    return len(listed)


def _jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (_HEIGHT // 16, _WIDTH // 16, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((_WIDTH, _HEIGHT)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _family(process: int) -> list[int]:
    """Return a process and all below it."""
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # It has ended.
        return []
    return [process, *(below for child in children for below in _family(child))]


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


if __name__ == "__main__":
    main()
