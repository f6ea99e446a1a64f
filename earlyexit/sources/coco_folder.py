"""Photographs of a folder in COCO layout."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from earlyexit.raw.coco import read_instances
from earlyexit.raw.layout import SOURCE_SPLITS, annotations_path, archive_path, write_photographs

LAYOUT = "annotations/instances_train.json, annotations/instances_val.json, images/train/ and images/val/"


def store_folder(source: Path, folder: Path) -> dict[str, tuple[int, int]]:
    """Bring a folder in COCO layout (`LAYOUT`) into the raw layout, every file byte for byte.

    Only listed photographs are stored. Some may be missing: packing decides what to do about these.

    Args:
        source: the folder in COCO layout.
        folder: an existing, empty folder to fill.

    Returns:
        for each split, the numbers of stored and of listed photographs.

    Raises:
        FileNotFoundError: the folder, a part of its layout or all photographs of a split are missing.
        ValueError: an instances file is malformed.
    """
    _check_layout(source)
    (folder / "annotations").mkdir()
    counts = {}
    for split in SOURCE_SPLITS:
        instances = read_instances(annotations_path(source, split), "box")
        names = [photograph.file_name for photograph in instances.photographs]
        names += [skip.file_name for skip in instances.skips]
        images = source / "images" / split
        present = [name for name in names if (images / name).is_file()]
        if not present:
            raise FileNotFoundError(f"{images}: none of its {len(names)} listed photographs is there, e.g. {names[0]}")
        shutil.copyfile(annotations_path(source, split), annotations_path(folder, split))
        photographs = ((name, (images / name).read_bytes()) for name in sorted(present))
        write_photographs(archive_path(folder, split), tqdm(photographs, f"store {split}", len(present)))
        counts[split] = len(present), len(names)
    return counts


def _check_layout(source: Path) -> None:
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such folder")
    missing = [str(path.relative_to(source)) for path in _layout(source) if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{source}: lacks {', '.join(missing)}; a folder in COCO layout holds {LAYOUT}")


def _layout(source: Path) -> Iterator[Path]:
    for split in SOURCE_SPLITS:
        yield annotations_path(source, split)
        yield source / "images" / split
