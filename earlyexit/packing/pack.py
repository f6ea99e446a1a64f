"""Pack photographs: one memory-mappable uint8 array for each split, beside an index of ids and labels.

train.npy  calibration.npy  val.npy    uint8, images x R x R x RGB, in order of id
index.csv                              id, split, label, person_share; rows in the order of the arrays
summary.json                           label definition, counts, skipped photographs, decoders' warnings
counts.json                            the summary's numbers
"""

import errno
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from earlyexit.common import pool
from earlyexit.common.files import FULL, replacing_folder, write_json
from earlyexit.packing.decode import UnfitError, decode
from earlyexit.packing.labels import LabelRule, Rule, differing
from earlyexit.raw import coco, layout, zips
from earlyexit.raw.coco import Instances, Photograph, Skip
from earlyexit.raw.zips import Member, MemberError
from earlyexit.task import SPLITS, in_calibration

_CHUNK = 32
_SHOWN = 5


_Planned = tuple[Photograph, Member]
_Outcomes = list[tuple[tuple[str, str] | None, str | None]]
_Chunk = tuple[int, list[_Planned]]  # the row of the first photograph, and the photographs


def pack(
    raw: Path,
    folder: Path,
    *,
    source: str,
    resolution: int,
    rule: Rule,
    min_person_area: Mapping[str, float],
    calibration_share: float,
    max_skipped: float,
    workers: int | None = None,
) -> dict[str, Any]:
    """Turn the raw layout (`earlyexit.raw.layout`) into packed splits, whole or not at all.

    The result does not depend on the number of workers; memory does not grow with the pixels.

    Args:
        raw: a folder in the raw layout.
        folder: the folder for arrays, index, summary and counts; replaced if it exists.
        source: where the photographs came from, for the summary.
        resolution: both sides of the packed images in pixels.
        rule: that labels the photographs (`LabelRule`).
        min_person_area: a share of the image for each rule.
        calibration_share: the share of train that a hash of the image id holds out.
        max_skipped: the largest share of the listed photographs that may be unusable. Dropped ones are not unusable.
        workers: the number of processes; None for one on each usable core.

    Returns:
        what summary.json holds.

    Raises:
        FileNotFoundError: a file of the raw layout is missing.
        ValueError: an instances file or zip is malformed or lacks what the rule needs, too many photographs are
            unusable, or a split lacks a class.
        OSError: too little disk space, or a worker was killed.
    """
    labels = LabelRule(rule, min_person_area[rule])
    # Forked before this process takes much memory.
    with pool.mapping(workers or len(os.sched_getaffinity(0)), method="fork") as spread:
        instances = {
            split: coco.read_instances(layout.annotations_path(raw, split), labels.measure, crowds=labels.crowds)
            for split in layout.SOURCE_SPLITS
        }
        skipped = _Skipped(
            sum(len(listed.photographs) + len(listed.skips) for listed in instances.values()), max_skipped
        )
        plan, dropped = _plan(instances, layout.stored(raw), labels, calibration_share, skipped)
        skipped.check()
        labels.check({split: [photograph for photograph, _ in planned] for split, planned in plan.items()})
        with replacing_folder(folder) as part:
            kept, warned = _write_arrays(plan, part, resolution, skipped, spread)
            labels.check(kept)
            labels.index(kept).to_csv(part / "index.csv", index=False)
            counts = {split: labels.counts(kept[split]) | {"dropped": dropped[split]} for split in SPLITS}
            by_area, by_box = LabelRule("vww", min_person_area["vww"]), LabelRule("vww_box", min_person_area["vww_box"])
            differ = {split: differing(kept[split], by_area, by_box) for split in SPLITS if labels.crowds}
            strays = {split: listed.stray_annotations for split, listed in instances.items()}
            summary = {
                "source": source,
                "definition": labels.definition,
                "label_rule": rule,
                "min_person_area": labels.area,
                "resolution": resolution,
                "calibration_share": calibration_share,
                "counts": counts,
                "vww_and_vww_box": differ,
                "stray_annotations": strays,
                "skipped": skipped.report(),
                "warnings": warned,
            }
            write_json(part / "summary.json", summary)
            write_json(
                part / "counts.json",
                counts | {"vww_and_vww_box": differ, "skipped": skipped.counts(), "stray_annotations": strays},
            )
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

    def counts(self) -> dict[str, Any]:
        """Return how many there are, of how many, and how many by reason."""
        reasons = sorted({skip.reason for _, skip in self._skips})
        by_reason = {reason: sum(skip.reason == reason for _, skip in self._skips) for reason in reasons}
        return {"count": len(self._skips), "listed": self._listed, "reasons": by_reason}

    def report(self) -> dict[str, Any]:
        """Return the counts and every photograph, in a fixed order."""
        skips = sorted(self._skips, key=lambda item: (layout.SOURCE_SPLITS.index(item[0]), item[1].id))
        return self.counts() | {"photographs": [{"split": split, **asdict(skip)} for split, skip in skips]}


def _plan(
    instances: dict[str, Instances],
    stored: dict[str, dict[str, Member]],
    labels: LabelRule,
    calibration_share: float,
    skipped: _Skipped,
) -> tuple[dict[str, list[_Planned]], dict[str, int]]:
    """Assign every stored photograph to a split, and count the photographs of each split that the rule drops."""
    held_out = {_key(stored["val"][name]) for name in _names(instances["val"]) if name in stored["val"]}
    plan: dict[str, list[_Planned]] = {split: [] for split in SPLITS}
    dropped = dict.fromkeys(SPLITS, 0)
    for source, listed in instances.items():
        skipped.add(source, listed.skips)
        for photograph in listed.photographs:
            calibration = source == "train" and in_calibration(photograph.id, calibration_share)
            split = "calibration" if calibration else source
            member = stored[source].get(photograph.file_name)
            if labels.drops(photograph):
                dropped[split] += 1
            elif member is None:
                skipped.add(source, [_skip(photograph, "missing", "in none of the zips of its split")])
            elif source == "train" and _key(member) in held_out:
                skipped.add(source, [_skip(photograph, "also in val", "the same file is a val photograph")])
            else:
                plan[split].append((photograph, member))
    return plan, dropped


def _names(listed: Instances) -> Iterator[str]:
    for photographs in (listed.photographs, listed.skips):
        yield from (photograph.file_name for photograph in photographs)


def _key(member: Member) -> tuple[int, int]:
    """Return a key by which two photographs are taken for the same file."""
    return member.crc, member.size


def _skip(photograph: Photograph, reason: str, detail: str) -> Skip:
    return Skip(photograph.id, photograph.file_name, reason, detail)


def _write_arrays(
    plan: dict[str, list[_Planned]],
    folder: Path,
    resolution: int,
    skipped: _Skipped,
    spread: Callable[..., Iterable[_Outcomes]],
) -> tuple[dict[str, list[Photograph]], list[dict[str, Any]]]:
    """Decode every planned photograph into <split>.npy; return the decoded photographs and the warnings."""
    kept, warned = {}, []
    offsets = _allocate({folder / f"{split}.npy": len(planned) for split, planned in plan.items()}, resolution)
    total = sum(map(len, plan.values()))
    with tqdm(total=total, desc="prepare", unit="image") as progress:
        for (split, planned), (path, offset) in zip(plan.items(), offsets.items(), strict=True):
            source = "val" if split == "val" else "train"
            chunks = [(start, planned[start : start + _CHUNK]) for start in range(0, len(planned), _CHUNK)]
            found = spread(partial(_decode_rows, path, offset, resolution), chunks)
            usable = []
            for (_, chunk), outcomes in zip(chunks, found, strict=True):
                for (photograph, _), (problem, warning) in zip(chunk, outcomes, strict=True):
                    usable.append(problem is None)
                    if problem:
                        skipped.add(source, [_skip(photograph, *problem)])
                    elif warning:
                        place = {"split": source, "id": photograph.id, "file_name": photograph.file_name}
                        warned.append(place | {"detail": warning})
                skipped.check()
                progress.update(len(chunk))
            if not all(usable):
                _drop_rows(path, np.array(usable))
            kept[split] = [photograph for photograph, _ in compress(planned, usable)]
    return kept, warned


def _allocate(counts: dict[Path, int], resolution: int) -> dict[Path, int]:
    """Write headers of .npy files and reserve their rows, so that a full disk shows early; return the rows' offsets."""
    folder = next(iter(counts)).parent
    row = 3 * resolution**2
    needed, free = row * sum(counts.values()), shutil.disk_usage(folder).free
    short = OSError(
        errno.ENOSPC,
        f"{folder.parent}: packing needs {needed / 1e9:.3f} GB of disk space, {free / 1e9:.3f} GB are free; a quota "
        "or a limit of file sizes may allow less",
    )
    if needed > free:
        raise short
    offsets = {}
    for path, count in counts.items():
        with path.open("wb") as file:
            _write_header(file, (count, resolution, resolution, 3))
            offsets[path] = file.tell()
            file.flush()
            try:
                os.posix_fallocate(file.fileno(), 0, offsets[path] + row * count)
            except OSError as error:
                if error.errno in FULL:
                    raise short from None
                raise
    return offsets


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _decode_rows(path: Path, offset: int, resolution: int, chunk: _Chunk) -> _Outcomes:
    """Decode a chunk of photographs into its rows of a .npy file, whose first row is at `offset`.

    This runs in a worker: passing the pixels to the parent would cost more than writing them here.

    Returns:
        for each photograph the reason and detail why its row is left empty, or None; and its decoder's warnings.
    """
    start, planned = chunk
    outcomes: _Outcomes = []
    with path.open("r+b") as file:
        for row, (photograph, member) in enumerate(planned, start):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                pixels = _usable(photograph, member, resolution)
            if isinstance(pixels, tuple):
                outcomes.append((pixels, None))
                continue
            file.seek(offset + row * pixels.nbytes)
            file.write(pixels.data)
            outcomes.append((None, "; ".join(str(warning.message).strip() for warning in caught) or None))
    return outcomes


def _usable(photograph: Photograph, member: Member, resolution: int) -> NDArray[np.uint8] | tuple[str, str]:
    """Return the pixels of a photograph, or the reason and detail why it cannot be used."""
    try:
        content = zips.read(member)
    except MemberError as error:
        return "damaged", str(error)
    try:
        return decode(content, photograph.width, photograph.height, resolution)
    except MemoryError:
        raise
    except UnfitError as error:
        return error.reason, str(error)
    except Exception as error:  # Pillow passes on whatever a damaged file leads its decoders to.
        return "damaged", f"{type(error).__name__}: {error}"


def _drop_rows(path: Path, keep: NDArray[np.bool_]) -> None:
    """Remove rows from a .npy file of bytes, in place. A memory map would end the process where the disk is full."""
    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        shape = np.lib.format.read_array_header_1_0(file)[0]
        offset, size = file.tell(), int(np.prod(shape[1:]))
        for target, source in enumerate(np.flatnonzero(keep).tolist()):
            if target != source:
                file.seek(offset + source * size)
                row = file.read(size)
                file.seek(offset + target * size)
                file.write(row)
        file.truncate(offset + int(keep.sum()) * size)
        file.seek(0)
        # The header is padded: a smaller count leaves its length as it is.
        _write_header(file, (int(keep.sum()), *shape[1:]))
