import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.raw import json_stream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=6)


def load(text: str) -> dict[str, Any]:
    found = {}
    for key, value in json_stream.members(io.StringIO(text)):
        found[key] = list(value) if isinstance(value, json_stream.Elements) else value
    return found


@given(OBJECTS, st.sampled_from([None, 1]), st.integers(1, 7), st.booleans())
def test_same_as_json(content: dict[str, Any], indent: int | None, chunk: int, ascii_only: bool) -> None:
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        assert load(text) == content


@given(OBJECTS.filter(bool), st.data())
def test_a_cut_or_changed_text_is_read_as_json_does_or_refused(content: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(content)
    at = data.draw(st.integers(0, len(text) - 1))
    for damaged in (text[:at], text[:at] + data.draw(st.sampled_from('[]{},:"0-x ')) + text[at + 1 :]):
        try:
            expected = json.loads(damaged)
        except ValueError:
            expected = None
        try:
            assert load(damaged) == expected
        except ValueError as error:
            assert expected is None or not isinstance(expected, dict) or "twice" in str(error)


@pytest.mark.parametrize("text", ["", " ", "[]", "3", "{", "{}x", "{,}", '{"a":1,}', '{"a" 1}', '{"a":[1,]}', "{1:2}"])
def test_what_is_no_object(text: str) -> None:
    with pytest.raises(ValueError, match="expected at character"):
        load(text)


def test_a_key_that_is_there_twice() -> None:
    with pytest.raises(ValueError, match="the key 'a' is there twice"):
        load('{"a": [1], "b": 2, "a": [3]}')


def test_elements_that_nobody_takes_are_passed_over() -> None:
    found = [key for key, _ in json_stream.members(io.StringIO('{"a": [1, [2], {"b": 3}], "c": 4}'))]
    assert found == ["a", "c"]


def test_hook_is_called_for_every_object_below_the_top() -> None:
    text = io.StringIO('{"a": [{"b": 1, "c": 2}]}')
    ((_, elements),) = [(key, list(value)) for key, value in json_stream.members(text, lambda value: value["c"])]
    assert elements == [2]


def test_little_of_a_large_array_is_in_memory() -> None:
    class Counted(io.StringIO):
        most = 0

        def read(self, size: int | None = -1) -> str:
            assert size is not None and 0 < size <= 2 << 20
            self.most = max(self.most, size)
            return super().read(size)

    text = Counted(json.dumps({"a": list(range(600_000))}))
    ((_, count),) = [(key, sum(1 for _ in value)) for key, value in json_stream.members(text)]
    assert count == 600_000
    assert text.most == 1 << 20
