"""Open and check the splits that `packing` wrote, as memory maps."""

from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from earlyexit.task import CLASSES, SPLITS

COLUMNS = ["id", "split", "label", "person_share"]
# NumPy's errors for a damaged header, which is a Python literal.
_DAMAGE = (
    ValueError,
    EOFError,
    OSError,
    TypeError,
    SyntaxError,
    OverflowError,
    RecursionError,
    MemoryError,
    TokenError,
)


@dataclass(frozen=True)
class PackedSplit:
    """One split.

    Attributes:
        images: uint8, images x R x R x RGB, memory-mapped and read-only.
        labels: int64, 0 (no person) or 1 (person) for each image.
        ids: int64, ascending, the image ids.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


def open_split(folder: Path | str, split: str) -> PackedSplit:
    """Return a split that `pack` wrote; its pixels are read when they are used.

    Raises:
        FileNotFoundError: the array or the index is missing.
        ValueError: there is no such split, a file is damaged, or the array and the index do not agree.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    path, index = Path(folder) / f"{split}.npy", Path(folder) / "index.csv"
    for file in (path, index):
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file; the prepare stage writes it")
    images = _open_array(path)
    table = _read_index(index)
    rows = table[table["split"] == split]
    if len(rows) != len(images):
        raise ValueError(f"{path} holds {len(images)} images, {index} lists {len(rows)}; run the prepare stage again")
    return PackedSplit(images, rows["label"].to_numpy(np.int64), rows["id"].to_numpy(np.int64))


def balanced(labels: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
    """Return `n` rows of `labels` (0 or 1), half of each class, chosen at random; the same for the same seed.

    Returns:
        the chosen rows, ascending.

    Raises:
        ValueError: `n` is odd or not positive, or a class has fewer than n / 2 rows.
    """
    if n < 2 or n % 2:
        raise ValueError(f"{n} images cannot be half of each class; an even number from 2 on is needed")
    rows = [np.flatnonzero(labels == label) for label in range(len(CLASSES))]
    if min(map(len, rows)) < n // 2:
        found = " and ".join(f"{len(r)} with label {label} ({CLASSES[label]})" for label, r in enumerate(rows))
        raise ValueError(
            f"{n} images need {n // 2} of each class, there are {found}; at most {2 * min(map(len, rows))}"
        )
    generator = np.random.default_rng(seed)
    return np.sort(np.concatenate([generator.choice(r, n // 2, replace=False) for r in rows]))


def balanced_up_to(labels: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
    """Return rows as `balanced` does, but fewer than `n` where the rarer class has fewer than n / 2 rows.

    Raises:
        ValueError: a class has no row at all.
    """
    counts = np.bincount(labels, minlength=len(CLASSES))
    rarest = int(counts.min())
    if rarest == 0:
        raise ValueError(
            f"none of the {len(labels)} images has label {counts.argmin()} ({CLASSES[int(counts.argmin())]}); an even "
            "number of images, half of each class, needs both"
        )
    return balanced(labels, min(n, 2 * rarest), seed)


def _open_array(path: Path) -> NDArray[np.uint8]:
    try:
        images: NDArray[np.uint8] = np.lib.format.open_memmap(path, mode="r")  # never unpickles, opens no zip
    except _DAMAGE as error:
        raise ValueError(f"{path}: not a whole .npy file ({_line(error)}); run the prepare stage again") from None
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise ValueError(f"{path}: uint8 of shape (images, R, R, 3) expected, found {images.dtype} of shape {shape}")
    return images


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _read_index(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"id": np.int64, "split": str, "label": np.int64})
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: not a table of {', '.join(COLUMNS)} ({_line(error)})") from None
    if list(table.columns) != COLUMNS:
        raise ValueError(f"{path}: columns {', '.join(COLUMNS)} expected, found {[*map(str, table.columns)]}")
    if not table["label"].isin((0, 1)).all():
        raise ValueError(f"{path}: a label is neither 0 nor 1")
    if table.duplicated(["split", "id"]).any():
        raise ValueError(f"{path}: an id is listed twice in one split")
    return table
