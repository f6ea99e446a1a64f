"""Errors of pydantic in one line."""

from pydantic import ValidationError


def first_error(error: ValidationError, root: str = "") -> str:
    """Return the first of a model's errors as "field: message (got value)" or "field is missing".

    Args:
        error: what pydantic raised.
        root: the name of the value that was validated, put before the field's: root.field, root[0].
    """
    first = error.errors(include_url=False)[0]
    field = root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    field = field.removeprefix(".")
    if first["type"] == "missing":
        return f"{field} is missing"
    message = f"{first['msg'].removeprefix('Value error, ')} (got {str(first['input'])[:60]!r})"
    return f"{field}: {message}" if field else message
