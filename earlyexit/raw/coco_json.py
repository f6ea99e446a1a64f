"""COCO instances files, read and checked element by element; only the keys that a label needs are kept."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NotRequired, TextIO

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from earlyexit.common.validation import first_error
from earlyexit.raw import json_stream


def _plain_relative(name: str) -> str:
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError("must be a path below the folder of images, such as 000000000009.jpg")
    return name


_Id = Annotated[int, Field(ge=0, lt=2**63)]
_Side = Annotated[int, Field(gt=0, lt=2**31)]


class Image(TypedDict):
    """An element of `images`."""

    id: _Id
    file_name: Annotated[str, AfterValidator(_plain_relative)]
    width: _Side
    height: _Side


class Annotation(TypedDict):
    """An element of `annotations`."""

    image_id: _Id
    category_id: _Id
    bbox: Annotated[list[float], Field(min_length=4, max_length=4)]
    area: NotRequired[Annotated[float, Field(allow_inf_nan=False)]]
    iscrowd: NotRequired[Literal[0, 1, False, True]]


class Category(TypedDict):
    """An element of `categories`."""

    id: _Id
    name: str


class Content(TypedDict):
    """An instances file."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


class ContentError(ValueError):
    """The text is not a COCO instances file."""


_PARTS: dict[str, TypeAdapter[Any]] = {
    "images": TypeAdapter(Image),
    "annotations": TypeAdapter(Annotation),
    "categories": TypeAdapter(Category),
}
_KEYS = tuple(sorted({key for part in (Image, Annotation, Category) for key in part.__annotations__}))


def parts(place: str, file: TextIO) -> Iterator[tuple[str, Iterator[Any]]]:
    """Yield "images", "annotations" and "categories", in the order of the file, each with its checked elements.

    An element is in memory only while the caller holds it. Keys that no label needs are dropped, such as segmentations.
    The elements of one part must be taken before the next part.

    Args:
        place: the file's name in messages.
        file: opened for reading as text.

    Raises:
        ContentError: the text is not JSON, or a part is missing or of the wrong shape; names the place and the element.
    """
    found = set()
    try:
        for key, value in json_stream.members(file, _needed):
            if key in _PARTS:
                found.add(key)
                yield key, _checked(place, key, value)
    except ContentError:
        raise
    except (ValueError, RecursionError) as error:
        raise ContentError(f"{place}: not valid JSON ({error})") from None
    for key in _PARTS:
        if key not in found:
            raise ContentError(f"{place}: {key} is missing; a COCO instances file is expected")


def _needed(content: dict[str, Any]) -> dict[str, Any]:
    return {key: content[key] for key in _KEYS if key in content}


def _checked(place: str, key: str, value: Any) -> Iterator[Any]:
    if not isinstance(value, json_stream.Elements):
        raise ContentError(f"{place}: {key}: must be a list; a COCO instances file is expected")
    try:
        for index, element in enumerate(value):
            yield _check(place, f"{key}[{index}]", _PARTS[key], element)
    except ContentError:
        raise
    except (ValueError, RecursionError) as error:
        raise ContentError(f"{place}: not valid JSON ({error})") from None


def _check(place: str, root: str, schema: TypeAdapter[Any], element: Any) -> Any:
    try:
        return schema.validate_python(element, strict=True)
    except ValidationError as error:
        raise ContentError(f"{place}: {first_error(error, root)}; a COCO instances file is expected") from None
