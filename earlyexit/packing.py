"""From photographs to packed arrays: one memory-mappable uint8 array a split, beside an index of ids and labels.

train.npy  calibration.npy  val.npy    uint8, images x R x R x RGB, in order of id
index.csv                              id, split, label, person_share; rows in the order of the arrays
summary.json                           label definition, counts, skipped photographs
"""

import io
import os
import zipfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import lru_cache, partial
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import ExifTags, Image
from tqdm import tqdm

from earlyexit import coco
from earlyexit.coco import Instances, Photograph, Skip
from earlyexit.files import replacing, replacing_folder, write_json
from earlyexit.packed import COLUMNS
from earlyexit.splits import SPLITS, in_calibration

# Eight bits a channel: the conversion to RGB would cut deeper ones off.
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})

_CHUNK = 32
_COPIED = 1024
_SHOWN = 5

_Pixels = NDArray[np.uint8]
_Chunk = tuple[int, list[Photograph]]  # the row of the first photograph, and the photographs


class UnfitError(ValueError):
    """A whole photograph that is not what its listing says, or not of a kind that can be used."""


def decode(content: bytes, width: int, height: int, resolution: int) -> _Pixels:
    """Decode a photograph, RGB, squashed to resolution x resolution x 3.

    The aspect ratio is not kept, as in MLPerf Tiny's Visual Wake Words, so nothing at the border is lost. Resampling is
    bilinear with antialiasing; a large JPEG is first scaled in the DCT domain, to no less than twice the target. EXIF
    orientation is not applied: COCO's sizes and boxes refer to the pixels as stored.

    Raises:
        UnfitError: not `width` x `height` as stored, or of more than eight bits a channel.
        OSError and others: whatever Pillow raises on a damaged file.
    """
    with Image.open(io.BytesIO(content)) as image:
        if image.size != (width, height):
            turned = " (boxes must refer to the stored pixels, before EXIF orientation)" if _turned(image) else ""
            raise UnfitError(f"{image.width} x {image.height}, listed as {width} x {height}{turned}")
        if image.mode not in _MODES:
            raise UnfitError(f"pixels of mode {image.mode}; eight bits a channel are needed")
        image.draft(None, (2 * resolution, 2 * resolution))
        small = image.convert("RGB").resize((resolution, resolution), Image.Resampling.BILINEAR)
    return np.asarray(small)


def pack(
    raw: Path,
    folder: Path,
    *,
    source: str,
    resolution: int,
    min_person_area: float,
    calibration_share: float,
    max_skipped: float,
    workers: int | None = None,
) -> dict[str, Any]:
    """Turn the raw layout (`earlyexit.coco`) into packed splits, whole or not at all.

    The result does not depend on the number of workers; memory does not grow with the pixels.

    Args:
        raw: folder in the raw layout.
        folder: where the arrays, the index and the summary go; replaced if it exists.
        source: where the photographs came from, for the summary.
        resolution: pixels, both sides.
        min_person_area: label 1 where the largest person box covers more than this share of the image.
        calibration_share: share of train held out by a hash of the image id.
        max_skipped: largest share of the listed photographs that may be unusable.
        workers: processes; None for one a usable core.

    Returns:
        what summary.json holds.

    Raises:
        FileNotFoundError: a file of the raw layout is missing.
        ValueError: an instances file or zip is malformed, too many photographs are unusable, or a split lacks a class.
    """
    instances = {split: coco.read_instances(coco.annotations_path(raw, split)) for split in coco.SPLITS}
    skipped = _Skipped(sum(len(listed.photographs) + len(listed.skips) for listed in instances.values()), max_skipped)
    plan = _plan(instances, raw, calibration_share, skipped)
    skipped.check()
    _check_classes(plan, min_person_area)
    with replacing_folder(folder) as part:
        kept = _write_arrays(plan, raw, part, resolution, skipped, workers or len(os.sched_getaffinity(0)))
        _check_classes(kept, min_person_area)
        _index(kept, min_person_area).to_csv(part / "index.csv", index=False)
        summary = {
            "source": source,
            "definition": f"1 (person) if a person box covers more than {min_person_area:g} of the image, else 0",
            "min_person_area": min_person_area,
            "resolution": resolution,
            "calibration_share": calibration_share,
            "counts": {split: _counts(photographs, min_person_area) for split, photographs in kept.items()},
            "stray_annotations": {split: listed.stray_annotations for split, listed in instances.items()},
            "skipped": skipped.report(),
        }
        write_json(part / "summary.json", summary)
    return summary


class _Skipped:
    """The photographs that cannot be used, and the limit on how many there may be."""

    def __init__(self, listed: int, max_skipped: float) -> None:
        self._listed = listed
        self._share = max_skipped
        self._skips: list[tuple[str, Skip]] = []

    def add(self, split: str, skips: Iterable[Skip]) -> None:
        self._skips.extend((split, skip) for skip in skips)

    def check(self) -> None:
        """Raise ValueError where the limit is passed."""
        limit = int(self._share * self._listed + 1e-9)
        if len(self._skips) <= limit:
            return
        shown = "; ".join(
            f"{split} id {skip.id} ({skip.file_name}): {skip.reason}, {skip.detail}"
            for split, skip in self._skips[:_SHOWN]
        )
        raise ValueError(
            f"{len(self._skips)} or more of {self._listed} photographs cannot be used, max_skipped = {self._share:g} "
            f"allows {limit}. The first: {shown}. Repair them, or raise max_skipped (a share of all photographs)"
        )

    def report(self) -> dict[str, Any]:
        """Return counts by reason and every photograph, in a fixed order."""
        skips = sorted(self._skips, key=lambda item: (coco.SPLITS.index(item[0]), item[1].id))
        reasons = sorted({skip.reason for _, skip in skips})
        return {
            "count": len(skips),
            "listed": self._listed,
            "reasons": {reason: sum(skip.reason == reason for _, skip in skips) for reason in reasons},
            "photographs": [{"split": split, **asdict(skip)} for split, skip in skips],
        }


def _plan(
    instances: dict[str, Instances], raw: Path, calibration_share: float, skipped: _Skipped
) -> dict[str, list[Photograph]]:
    """Assign every photograph that is stored to a split."""
    members = {split: _members(coco.archive_path(raw, split)) for split in coco.SPLITS}
    held_out = set(members["val"].values())
    plan: dict[str, list[Photograph]] = {split: [] for split in SPLITS}
    for source, listed in instances.items():
        skipped.add(source, listed.skips)
        for photograph in listed.photographs:
            name = coco.member_name(source, photograph.file_name)
            if name not in members[source]:
                skipped.add(source, [_skip(photograph, "missing", f"{coco.archive_path(raw, source)} lacks {name}")])
            elif source == "train" and members[source][name] in held_out:
                skipped.add(source, [_skip(photograph, "also in val", "the same file is a val photograph")])
            elif source == "train" and in_calibration(photograph.id, calibration_share):
                plan["calibration"].append(photograph)
            else:
                plan[source].append(photograph)
    return plan


def _members(path: Path) -> dict[str, tuple[int, int]]:
    """Return the checksum and the size of every member: equal pairs are taken for equal photographs."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the download stage writes it")
    try:
        with zipfile.ZipFile(path) as archive:
            return {member.filename: (member.CRC, member.file_size) for member in archive.infolist()}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: not a whole zip file ({error}); run the download stage again") from None


def _skip(photograph: Photograph, reason: str, detail: str) -> Skip:
    return Skip(photograph.id, photograph.file_name, reason, detail)


def _write_arrays(
    plan: dict[str, list[Photograph]], raw: Path, folder: Path, resolution: int, skipped: _Skipped, workers: int
) -> dict[str, list[Photograph]]:
    """Decode every planned photograph into <split>.npy; return those that could be decoded."""
    kept = {}
    total = sum(map(len, plan.values()))
    with ProcessPoolExecutor(workers) as pool, tqdm(total=total, desc="prepare", unit="image") as progress:
        for split, photographs in plan.items():
            source = "val" if split == "val" else "train"
            path = folder / f"{split}.npy"
            rows = np.lib.format.open_memmap(path, "w+", np.uint8, (len(photographs), resolution, resolution, 3))
            task = partial(_decode_rows, coco.archive_path(raw, source), source, path, rows.offset, resolution)
            chunks = [(start, photographs[start : start + _CHUNK]) for start in range(0, len(photographs), _CHUNK)]
            usable = []
            for (_, chunk), problems in zip(chunks, pool.map(task, chunks), strict=True):
                for photograph, problem in zip(chunk, problems, strict=True):
                    usable.append(problem is None)
                    if problem:
                        skipped.add(source, [_skip(photograph, *problem)])
                skipped.check()
                progress.update(len(chunk))
            if not all(usable):
                _drop_rows(path, np.array(usable))
            kept[split] = list(compress(photographs, usable))
    return kept


def _decode_rows(
    archive: Path, split: str, path: Path, offset: int, resolution: int, chunk: _Chunk
) -> list[tuple[str, str] | None]:
    """Decode a chunk of photographs into its rows of a .npy file, whose first row is at `offset`; runs in a worker.

    Writing here and not in the parent saves passing the pixels from process to process.

    Returns:
        None for each photograph, or the reason and detail why its row is left empty.
    """
    start, photographs = chunk
    problems: list[tuple[str, str] | None] = []
    with path.open("r+b") as file:
        for row, photograph in enumerate(photographs, start):
            try:
                content = _open_archive(archive).read(coco.member_name(split, photograph.file_name))
                pixels = decode(content, photograph.width, photograph.height, resolution)
            except MemoryError:
                raise
            except UnfitError as error:
                problems.append(("unfit", str(error)))
            except Exception as error:  # Pillow passes on whatever a damaged file leads its decoders to.
                problems.append(("damaged", f"{type(error).__name__}: {error}"))
            else:
                file.seek(offset + row * pixels.nbytes)
                file.write(pixels.data)
                problems.append(None)
    return problems


def _drop_rows(path: Path, keep: NDArray[np.bool_]) -> None:
    """Rewrite a .npy file with the rows to keep."""
    rows = np.load(path, mmap_mode="r")
    chosen = np.flatnonzero(keep)
    with replacing(path) as part:
        fewer = np.lib.format.open_memmap(part, "w+", rows.dtype, (len(chosen), *rows.shape[1:]))
        for start in range(0, len(chosen), _COPIED):
            fewer[start : start + _COPIED] = rows[chosen[start : start + _COPIED]]
        fewer.flush()


@lru_cache(maxsize=1)
def _open_archive(path: Path) -> zipfile.ZipFile:
    """Keep a worker's zip open: its directory is read once, not once a chunk."""
    return zipfile.ZipFile(path)


def _turned(image: Image.Image) -> bool:
    return int(image.getexif().get(ExifTags.Base.Orientation, 1)) > 4


def _label(photograph: Photograph, min_person_area: float) -> int:
    return int(photograph.person_share > min_person_area)


def _counts(photographs: list[Photograph], min_person_area: float) -> dict[str, int]:
    persons = sum(_label(photograph, min_person_area) for photograph in photographs)
    return {"images": len(photographs), "no_person": len(photographs) - persons, "person": persons}


def _check_classes(plan: dict[str, list[Photograph]], min_person_area: float) -> None:
    for split, photographs in plan.items():
        counts = _counts(photographs, min_person_area)
        if not (counts["person"] and counts["no_person"]):
            raise ValueError(
                f"the {split} split needs images with and without a person; of its {counts['images']} images "
                f"{counts['person']} have a person box above min_person_area = {min_person_area:g}"
            )


def _index(kept: dict[str, list[Photograph]], min_person_area: float) -> pd.DataFrame:
    rows = [
        (photograph.id, split, _label(photograph, min_person_area), photograph.person_share)
        for split, photographs in kept.items()
        for photograph in photographs
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
