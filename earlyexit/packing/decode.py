"""Decode photographs and squash them to one size."""

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from tqdm import tqdm

from earlyexit.raw import layout

# Modes of eight bits a channel. The conversion to RGB would clip deeper ones.
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class UnfitError(ValueError):
    """A photograph that cannot be used: `reason` is a fixed phrase, the message says what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def decode(content: bytes, width: int, height: int, resolution: int) -> NDArray[np.uint8]:
    """Return a photograph (JPEG, PNG, WebP, BMP) as RGB pixels, squashed to resolution x resolution x 3.

    The aspect ratio is not kept, as in MLPerf Tiny's Visual Wake Words, so nothing at the border is lost. Resampling is
    bilinear with antialiasing; a large JPEG is first scaled in the DCT domain, to no less than twice the target. EXIF
    orientation is not applied: COCO's sizes and boxes refer to the pixels as stored.

    Args:
        content: the file.
        width: the listed width in pixels.
        height: the listed height in pixels.
        resolution: both sides of the result in pixels.

    Raises:
        UnfitError: the file has none of these formats, is not `width` x `height` as stored, has more than eight bits a
            channel, or more pixels than Pillow takes for harmless (`Image.MAX_IMAGE_PIXELS`). Nothing is decoded then.
        OSError and others: whatever Pillow raises on a damaged file.
    """
    with _open(content) as image:
        if image.size != (width, height):
            turned = " (boxes must refer to the stored pixels, before EXIF orientation)" if _turned(image) else ""
            raise UnfitError("other size", f"{image.width} x {image.height}, listed as {width} x {height}{turned}")
        return _squashed(image, resolution)


def decode_folder(folder: Path, resolution: int) -> NDArray[np.uint8]:
    """Return all photographs of a folder and of the folders in it, in the order of their paths, as `decode` does.

    Args:
        folder: files with other endings than .jpg, .jpeg, .png, .webp and .bmp are ignored.
        resolution: both sides of the result in pixels.

    Returns:
        uint8 (N, resolution, resolution, 3).

    Raises:
        ValueError: the folder is missing or holds no photograph, or one cannot be used; names the file.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected one that holds photographs")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise ValueError(f"{folder}: holds no photograph ({', '.join(_SUFFIXES)})")
    images = np.empty((len(paths), resolution, resolution, 3), np.uint8)
    for row, path in enumerate(tqdm(paths, desc="photographs", unit="image", delay=2)):
        try:
            with _open(path.read_bytes()) as image:
                images[row] = _squashed(image, resolution)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
    return images


def _squashed(image: Image.Image, resolution: int) -> NDArray[np.uint8]:
    if image.mode not in _MODES:
        raise UnfitError("unsupported pixels", f"pixels of mode {image.mode}; eight bits a channel are needed")
    image.draft(None, (2 * resolution, 2 * resolution))
    small = image.convert("RGB").resize((resolution, resolution), Image.Resampling.BILINEAR)
    return np.asarray(small)


def _open(content: bytes) -> Image.Image:
    if not content:
        raise UnfitError("no photograph", "the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content), formats=layout.FORMATS)
    except UnidentifiedImageError:
        raise UnfitError(
            "no photograph", f"neither {', '.join(layout.FORMATS[:-1])} nor {layout.FORMATS[-1]}"
        ) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UnfitError("too large", f"more than {Image.MAX_IMAGE_PIXELS} pixels") from None


def _turned(image: Image.Image) -> bool:
    return int(image.getexif().get(ExifTags.Base.Orientation, 1)) > 4
