"""Read a large JSON object piece by piece: only one element of an array is in memory at a time."""

import json
from collections.abc import Callable, Iterator
from typing import Any, TextIO

_CHUNK = 1 << 20
_SPACE = " \t\n\r"


class Elements(Iterator[Any]):
    """Iterator over the elements of an array, which are parsed one by one."""

    def __init__(self, text: "_Text") -> None:
        self._text = text
        text.take("[")
        self._more = text.peek() != "]"
        if not self._more:
            text.take("]")

    def __next__(self) -> Any:
        if not self._more:
            raise StopIteration
        value = self._text.value()
        self._more = self._text.take(",]") == ","
        return value


def members(file: TextIO, hook: Callable[[dict[str, Any]], Any] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield key and value of every member of the JSON object in `file`, in order.

    An array comes as `Elements`; elements that the caller does not take are skipped.

    Args:
        file: opened for reading as text.
        hook: json's `object_hook`, called for every object below the top one.

    Raises:
        ValueError: the file is not one JSON object, or has a key twice.
        RecursionError: it is nested too deep.
    """
    text = _Text(file, hook)
    seen: set[str] = set()
    text.take("{")
    more = text.peek() != "}"
    while more:
        if text.peek() != '"':
            text.take('"')
        key = text.value()
        if key in seen:
            raise ValueError(f"the key {key[:40]!r} is there twice")
        seen.add(key)
        text.take(":")
        if text.peek() == "[":
            elements = Elements(text)
            yield key, elements
            for _ in elements:
                pass
        else:
            yield key, text.value()
        more = text.take(",}") == ","
    if not seen:
        text.take("}")
    if text.peek():
        raise text.error("nothing")


class _Text:
    """A window of the file that starts at the next character to parse."""

    def __init__(self, file: TextIO, hook: Callable[[dict[str, Any]], Any] | None) -> None:
        self._file = file
        self._decode = json.JSONDecoder(object_hook=hook).raw_decode
        self._window = ""
        self._at = 0
        self._passed = 0

    def peek(self) -> str:
        """Return the next character that is not white space, or nothing at the end."""
        while True:
            while self._at < len(self._window):
                if self._window[self._at] not in _SPACE:
                    return self._window[self._at]
                self._at += 1
            if not self._read():
                return ""

    def take(self, allowed: str) -> str:
        """Return the next character, which must be one of `allowed`, and go on behind it."""
        found = self.peek()
        if not found or found not in allowed:
            raise self.error(" or ".join(allowed))
        self._at += 1
        return found

    def value(self) -> Any:
        """Return the next value."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._window, self._at)
            except json.JSONDecodeError:
                if not self._read():
                    raise self.error("a value") from None
                continue
            # A number at the window's end may continue behind it: 1 of 1e+5.
            if end + 2 < len(self._window) or not self._read():
                self._at = end
                return value

    def error(self, expected: str) -> ValueError:
        """Return the error that `expected` is not what comes next."""
        return ValueError(f"{expected} expected at character {self._passed + self._at}")

    def _read(self) -> bool:
        """Read on; return whether there was more. Doubling the window keeps the total cost of retries linear."""
        rest = self._window[self._at :]
        chunk = self._file.read(max(_CHUNK, len(rest)))
        if chunk:
            self._passed += self._at
            self._window, self._at = rest + chunk, 0
        return bool(chunk)
