"""Stage download: photographs and their COCO instances files, from the source that data.source names."""

import os
from collections.abc import Mapping
from pathlib import Path

from earlyexit.common.files import replacing_folder
from earlyexit.params import DataParams, load
from earlyexit.sources import class_folders, coco2014, coco_folder, scenes
from earlyexit.sources.checksums import read_checksums
from earlyexit.sources.fetch import fetch
from stages import run

RAW = Path("data/raw")
# Not an output of the stage: DVC deletes outputs before a stage runs, but downloads are resumed.
DOWNLOADS = Path("data/downloads")

Counts = Mapping[str, tuple[int, int]]


def embedded(data: DataParams, folder: Path) -> Counts:
    """Draw the project's own scenes."""
    workers = len(os.sched_getaffinity(0))
    scenes.write(folder, train=data.train_images, val=data.val_images, seed=data.seed, workers=workers)
    return {}


def full_coco(data: DataParams, folder: Path) -> Counts:
    """Download COCO 2014 and split it as Visual Wake Words does."""
    digests = _digests(data)
    fetch(coco2014.remotes(data.coco_url, data.minival_url, digests), DOWNLOADS)
    return coco2014.store(DOWNLOADS, folder, official=digests is None)


def mlperf_tiny(data: DataParams, folder: Path) -> Counts:
    """Download MLPerf Tiny's person and non-person images of 96 x 96 pixels."""
    (archive,) = fetch([class_folders.remote(data.mlperf_tiny_url, _digests(data))], DOWNLOADS)
    return class_folders.store_archive(archive, folder, val_share=data.val_share)


def local_folder(data: DataParams, folder: Path) -> Counts:
    """Store a folder in COCO layout, or one of two class folders."""
    source = Path(data.source)
    if not source.is_dir():
        raise FileNotFoundError(
            f"data.source: no such folder: {data.source} (looked at {source.absolute()}). Give {', '.join(SOURCES)}, "
            f"a folder that holds {coco_folder.LAYOUT}, or one of two class folders, of which one is named person. A "
            "relative path starts at the folder of params.yaml; queued experiments (dvc exp run --queue or --temp) run "
            "in a copy elsewhere and need an absolute path"
        )
    try:
        if (source / "annotations").is_dir() or not (source / "person").is_dir():
            return coco_folder.store_folder(source, folder)
        return class_folders.store_folder(source, folder, val_share=data.val_share)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"data.source: {error}") from None


SOURCES = {"embedded": embedded, "coco2014": full_coco, "mlperf_tiny": mlperf_tiny}


def main() -> None:
    """Fill data/raw, whole or not at all."""
    data = load().data
    source = SOURCES.get(data.source, local_folder)
    with replacing_folder(RAW) as folder:
        counts = source(data, folder)
    for split, (stored, listed) in counts.items():
        print(f"{split}: {stored} of {listed} listed photographs stored")


def _digests(data: DataParams) -> dict[str, str] | None:
    """Return the checksums that the user gave, or None for the official ones."""
    if data.checksums == "official":
        return None
    try:
        return read_checksums(Path(data.checksums))
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"data.checksums: {error}; or write official") from None


if __name__ == "__main__":
    run(main)
