"""Stage download: photographs and their COCO instances files, from the source that data.source names."""

import os
from pathlib import Path

from earlyexit import coco, scenes
from earlyexit.files import replacing_folder
from earlyexit.params import DataParams, load
from stages import run

RAW = Path("data/raw")


def embedded(data: DataParams, folder: Path) -> None:
    """Draw the project's own scenes."""
    workers = len(os.sched_getaffinity(0))
    scenes.write(folder, train=data.train_images, val=data.val_images, seed=data.seed, workers=workers)


def local_folder(data: DataParams, folder: Path) -> None:
    """Store a folder in COCO layout."""
    source = Path(data.source)
    if not source.is_dir():
        raise FileNotFoundError(
            f"data.source: no such folder: {data.source} (looked at {source.absolute()}). Give embedded or a folder "
            f"that holds {coco.LAYOUT}. A relative path starts at the folder of params.yaml; queued experiments "
            "(dvc exp run --queue or --temp) run in a copy elsewhere and need an absolute path"
        )
    try:
        counts = coco.store_folder(source, folder)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"data.source: {error}") from None
    for split, (stored, listed) in counts.items():
        print(f"{split}: {stored} of {listed} listed photographs stored")


def main() -> None:
    """Fill data/raw, whole or not at all."""
    data = load().data
    source = embedded if data.source == "embedded" else local_folder
    with replacing_folder(RAW) as folder:
        source(data, folder)


if __name__ == "__main__":
    run(main)
