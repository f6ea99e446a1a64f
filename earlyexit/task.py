"""The task, Visual Wake Words: its two classes, and the three splits of the images."""

import hashlib

CLASSES = ("no person", "person")
SPLITS = ("train", "calibration", "val")


def in_calibration(image_id: int, share: float) -> bool:
    """Return whether a training image is held out for calibration.

    The id is hashed (BLAKE2b, 64 bits) to a number in [0, 1), which is compared with `share`. So other images have no
    influence on the choice, and a larger share only adds images.

    Raises:
        ValueError: `share` is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"calibration_share is {share}; it must lie between 0 and 1")
    digest = hashlib.blake2b(str(image_id).encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64
