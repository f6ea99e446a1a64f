"""COCO 2014 from its host, split as Visual Wake Words splits it: val is "minival", train is all the rest.

The photographs stay in the two archives of the host; only the instances files are written anew.
"""

import errno
import io
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from earlyexit.raw import coco_json, layout
from earlyexit.raw.coco_json import Content, ContentError
from earlyexit.sources.fetch import Remote

IMAGES = {"train2014": 82_783, "val2014": 40_504}
"""Photographs of each archive."""
ANNOTATIONS = "annotations_trainval2014.zip"
MINIVAL = "mscoco_minival_ids.txt"
MINIVAL_IDS = 8_059

# Path at the host, bytes (the host's Content-Length), MD5 (as PaddleDetection, LAVIS and others check it; the host
# publishes none). Small files come first, so that mistakes show early.
_ARCHIVES = (
    ("annotations", ANNOTATIONS, 252_872_794, "0a379cfc70b0e71301e0f377548639bd"),
    ("zips", "val2014.zip", 6_645_013_297, "a3d79f5ed8d289b7a7554ce06a5782b3"),
    ("zips", "train2014.zip", 13_510_573_713, "0da8c0bd3d6becc4dcb32757491aca88"),
)

_JSON_LIMIT = 2**30  # bytes; COCO's larger instances file has a third of it
_BLOCK = 2**20


def remotes(url: str, minival_url: str, digests: Mapping[str, str] | None) -> list[Remote]:
    """Return what to download, small files first.

    Args:
        url: the host's address; it has the folders zips/ and annotations/.
        minival_url: the address of the list of minival's ids.
        digests: "md5:..." or "sha256:..." by file name, for archives of other content; None for the official sizes and
            digests. There is no official digest of the list: `store` checks its content.

    Raises:
        ValueError: `digests` lacks an archive.
    """
    found = [Remote(minival_url, MINIVAL, digest=digests.get(MINIVAL) if digests else None)]
    for path, name, size, md5 in _ARCHIVES:
        place = f"{url.rstrip('/')}/{path}/{name}"
        if digests is None:
            found.append(Remote(place, name, size, f"md5:{md5}"))
        elif name in digests:
            found.append(Remote(place, name, digest=digests[name]))
        else:
            raise ValueError(f"the checksums lack {name}; one for each of {_names()} is needed")
    return found


def store(downloads: Path, folder: Path, *, official: bool) -> dict[str, tuple[int, int]]:
    """Bring the downloaded files into the raw layout: the archives as they are, the instances files split anew.

    The archives are hard-linked, or copied where that is not possible. A photograph's `file_name` is the name of its
    member, such as train2014/COCO_train2014_000000000009.jpg. Only the annotations of persons are kept, and those of
    unlisted categories, which make an image unusable. Some listed photographs may be missing: packing decides what to
    do about these.

    Args:
        downloads: the folder with the files that `remotes` names.
        folder: an existing, empty folder to fill.
        official: also check the numbers of photographs and of minival's ids.

    Returns:
        for each split, the numbers of stored and of listed photographs.

    Raises:
        ValueError: a file is damaged or malformed, or does not fit the others.
        OSError: a file is missing or cannot be written.
    """
    minival = _read_minival(downloads / MINIVAL, official)
    parts = _read_annotations(downloads / ANNOTATIONS, official)
    images = {image["id"] for image in parts["val2014"]["images"]}
    if strays := sorted(minival - images):
        raise ValueError(
            f"{downloads / MINIVAL}: {len(strays)} of its {len(minival)} ids are not in val2014, e.g. {strays[0]}"
        )
    members = set().union(*(_members(downloads / f"{part}.zip", part, official) for part in IMAGES))

    (folder / "images").mkdir()
    counts = {}
    for split, content in _split(parts, minival).items():
        layout.write_instances(folder, split, content)
        stored = sum(image["file_name"] in members for image in content["images"])
        if not stored:
            listed = f"{len(content['images'])} photographs of {split}, e.g. {content['images'][0]['file_name']}"
            raise ValueError(f"{downloads}: train2014.zip and val2014.zip hold none of the {listed}")
        counts[split] = stored, len(content["images"])
    for part in IMAGES:
        _link(downloads / f"{part}.zip", folder / "images" / f"{part}.zip")
    return counts


def _names() -> str:
    return ", ".join(name for _, name, *_ in _ARCHIVES)


def _read_minival(path: Path, official: bool) -> set[int]:
    ids: set[int] = set()
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        text = line.strip()
        if not text:
            continue
        if not re.fullmatch(rb"\d{1,18}", text):
            found = text[:40].decode(errors="replace")
            raise ValueError(f"{path}: line {number} is {found!r}; an image id, such as 42, is expected on each line")
        if int(text) in ids:
            raise ValueError(f"{path}: line {number} repeats {int(text)}; the ids must differ")
        ids.add(int(text))
    if not ids or (official and len(ids) != MINIVAL_IDS):
        raise ValueError(f"{path}: {len(ids)} image ids; {f'minival has {MINIVAL_IDS}' if official else 'some needed'}")
    return ids


def _read_annotations(path: Path, official: bool) -> dict[str, Content]:
    """Return the contents of both instances files, without the annotations that decide no label."""
    parts = {}
    for part, count in IMAGES.items():
        parts[part] = _read_instances(path, f"annotations/instances_{part}.json")
        listed = len(parts[part]["images"])
        if official and listed != count:
            raise ValueError(f"{path}: instances_{part}.json lists {listed} images; {part} has {count}")
    train, val = parts.values()
    if train["categories"] != val["categories"]:
        raise ValueError(f"{path}: instances_train2014.json and instances_val2014.json differ in their categories")
    seen: set[int] = set()
    for image in (*train["images"], *val["images"]):
        if image["id"] in seen:
            raise ValueError(f"{path}: the image id {image['id']} is used twice; ids must differ over both parts")
        seen.add(image["id"])
    return parts


def _read_instances(path: Path, member: str) -> Content:
    """Read an instances file inside its zip as a stream: COCO's have up to 333 MB."""
    with _opened(path) as archive:
        if member not in archive.NameToInfo:
            raise ValueError(f"lacks {member}")
        info = archive.getinfo(member)
        if info.file_size > _JSON_LIMIT or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member} is over {_JSON_LIMIT} bytes or of another compression than deflate")
        place = f"{path}, {member}"
        with io.TextIOWrapper(archive.open(info), encoding="utf-8") as file:
            return _labelling(place, _parse(place, file))


def _parse(place: str, file: TextIO) -> Content:
    lists: dict[str, list[Any]] = {}
    for key, items in coco_json.parts(place, file):
        lists[key] = list(tqdm(items, f"read {key} of {place.rpartition('/')[2]}", unit=" objects"))
    if empty := [key for key, items in lists.items() if not items]:
        raise ContentError(f"{place}: {empty[0]} is empty; a COCO instances file is expected")
    return {"images": lists["images"], "annotations": lists["annotations"], "categories": lists["categories"]}


def _labelling(place: str, content: Content) -> Content:
    """Return the content without the annotations of listed categories other than person."""
    names = [category["name"] for category in content["categories"]]
    if names.count("person") != 1:
        raise ContentError(f'{place}: {names.count("person")} categories are named "person"; exactly one must be')
    others = {category["id"] for category in content["categories"] if category["name"] != "person"}
    kept = [annotation for annotation in content["annotations"] if annotation["category_id"] not in others]
    return {"images": content["images"], "annotations": kept, "categories": content["categories"]}


def _split(parts: dict[str, Content], minival: set[int]) -> dict[str, Content]:
    """Return the contents of train and val. The image ids decide; no id is in both parts."""
    categories = parts["train2014"]["categories"]
    splits: dict[str, Content] = {
        split: {"images": [], "annotations": [], "categories": categories} for split in layout.SOURCE_SPLITS
    }
    for part, content in parts.items():
        for image in content["images"]:
            image["file_name"] = layout.member_name(part, image["file_name"])
            splits["val" if image["id"] in minival else "train"]["images"].append(image)
        for annotation in content["annotations"]:
            splits["val" if annotation["image_id"] in minival else "train"]["annotations"].append(annotation)
    for content in splits.values():
        content["images"].sort(key=lambda image: image["id"])
        content["annotations"].sort(key=lambda annotation: annotation["image_id"])
    return splits


def _members(path: Path, part: str, official: bool) -> set[str]:
    """Return the names of an archive's photographs."""
    with _opened(path) as archive:
        names = {name for name in archive.namelist() if name.startswith(f"{part}/") and name.endswith(".jpg")}
        if official and len(names) != IMAGES[part]:
            raise ValueError(f"{len(names)} photographs {part}/*.jpg; there should be {IMAGES[part]}")
    return names


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip; turn its damage into a ValueError that names it."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except ContentError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: an offset before the start of the file
            raise
        raise ValueError(f"{path}: not the zip file expected ({str(error) or 'it ends early'})") from None


def _link(source: Path, target: Path) -> None:
    source = source.resolve()  # os.link would link to a link, which may be relative
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        with (
            source.open("rb") as file,
            tqdm.wrapattr(file, "read", source.stat().st_size, desc=f"copy {target.name}") as reader,
            target.open("wb") as writer,
        ):
            shutil.copyfileobj(reader, writer, _BLOCK)
