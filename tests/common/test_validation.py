import pytest
from pydantic import BaseModel, ValidationError

from earlyexit.common.validation import first_error


class Part(BaseModel):
    numbers: list[int]


class Whole(BaseModel):
    part: Part


@pytest.mark.parametrize(
    ("value", "root", "words"),
    [
        ({}, "", "part is missing"),
        ({}, "parts[1]", "parts[1].part is missing"),
        ({"part": {"numbers": [1, "x"]}}, "", "part.numbers[1]: Input should be a valid integer"),
        (7, "", "Input should be a valid dictionary or instance of Whole (got '7')"),
        (7, "parts[1]", "parts[1]: Input should be a valid dictionary"),
    ],
)
def test_first_error_names_field_and_value(value: object, root: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(value)
    assert first_error(caught.value, root).startswith(words)
