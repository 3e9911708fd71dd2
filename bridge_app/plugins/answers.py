"""What a plugin gave → bytes and plain values that travel: its result as JSON, its exception as names and text.

Pure; standard library only; used in worker processes and in threads. NaN and infinities in a result become null; a
lone surrogate becomes U+FFFD; a tuple becomes a list. Nothing else is converted: what JSON cannot say is an error that
names where in the result it stands.
"""

from __future__ import annotations

import json
import math
import traceback
from typing import Any

MAX_DEPTH = 500
MAX_TRACEBACK_CHARACTERS = 64 * 1024
MAX_ERROR_CHARACTERS = 1000
_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))  # made once: 5 µs a call


class UnserializableResultError(TypeError):
    """JSON cannot say this result; the message names the place."""


def encode_result(result: Any) -> bytes:
    """UTF-8 JSON without spaces. Raises `UnserializableResultError`."""
    try:
        text = _STRICT.encode(result)
    except (TypeError, ValueError, RecursionError):
        text = _encode_plain(_plain(result, "result", ()))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _encode_plain(result: Any) -> str:
    try:
        return _STRICT.encode(result)
    except (TypeError, ValueError, RecursionError) as error:  # an int of more digits than Python converts, for one
        raise UnserializableResultError(f"the result cannot be said in JSON: {error}") from error


def _plain(value: Any, path: str, above: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, dict | list | tuple):
        raise UnserializableResultError(
            f"{path} is a {type(value).__qualname__}, which JSON cannot say: "
            "return dicts, lists, strings, numbers, booleans and None",
        )
    if id(value) in above:
        raise UnserializableResultError(f"{path} contains itself: JSON cannot say a circle")
    if len(above) >= MAX_DEPTH:
        raise UnserializableResultError(f"{path[:80]}… is nested deeper than {MAX_DEPTH} levels")
    inside = (*above, id(value))
    if isinstance(value, dict):
        return {_key(key, path): _plain(item, f"{path}[{key!r}]", inside) for key, item in value.items()}
    return [_plain(item, f"{path}[{index}]", inside) for index, item in enumerate(value)]


def _key(key: Any, path: str) -> Any:
    if isinstance(key, float) and not math.isfinite(key):
        return str(key)
    if key is None or isinstance(key, str | int | float):
        return key
    raise UnserializableResultError(
        f"a key of {path} is a {type(key).__qualname__}, {key!r:.80}: JSON keys are strings"
    )


def error_types(error: BaseException) -> tuple[str, ...]:
    """Qualified class names, most telling first: each exception of the cause chain with its base classes.

    >>> error_types(KeyError("x"))
    ('builtins.KeyError', 'builtins.LookupError', 'builtins.Exception')
    """
    names: dict[str, None] = {}
    current: BaseException | None = error
    for _ in range(16):
        if current is None:
            break
        for base in type(current).__mro__[:-2]:  # without BaseException and object, which say nothing
            names[f"{base.__module__}.{base.__qualname__}"] = None
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return tuple(names)


def error_line(error: BaseException) -> str:
    """`ValueError: the message`, on one line, bounded; an exception whose own __str__ fails is named all the same."""
    try:
        text = str(error)
    except BaseException as broken:  # noqa: BLE001 - a plugin's __str__ may raise anything
        text = f"(its text cannot be had: {type(broken).__name__})"
    name = type(error).__qualname__
    line = " ".join(f"{name}: {text}".split()) if text else name
    return line.encode("utf-8", "replace").decode()[:MAX_ERROR_CHARACTERS]


def error_traceback(error: BaseException, *, skip_path: str = "") -> str:
    """The traceback, from the first frame that is not in a file under `skip_path`; bounded, the end kept."""
    try:
        frames = error.__traceback__
        while skip_path and frames is not None and frames.tb_frame.f_code.co_filename.startswith(skip_path):
            frames = frames.tb_next
        text = "".join(traceback.format_exception(type(error), error, frames))
    except BaseException as broken:  # noqa: BLE001 - a plugin's __str__ may raise anything
        return f"{type(error).__qualname__} (its traceback cannot be had: {type(broken).__name__})"
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_TRACEBACK_CHARACTERS else "…" + text[-MAX_TRACEBACK_CHARACTERS:]


def failure(error: BaseException, *, skip_path: str = "") -> dict[str, Any]:
    """The fields of a reply that say what was raised; `error_type` is empty where the class has to tell."""
    line, kind = error_line(error), ""
    match error:
        case UnserializableResultError():
            kind = "unserializable_result"
        case MemoryError():
            kind, line = "memory_limit", f"{line} (the memory limit of a worker is plugins.max_memory_bytes)"
        case SystemExit():
            kind, line = "plugin_exited", f"the plugin called sys.exit({error.code!r:.100})"
    return {
        "error": line,
        "error_type": kind,
        "chain": error_types(error),
        "traceback": error_traceback(error, skip_path=skip_path),
    }


def too_large(size: int, *, limit: int) -> dict[str, Any]:
    """The fields of a reply whose result is not sent."""
    text = f"the result is {size} bytes of JSON; plugins.max_result_bytes is {limit}: return less, or raise the limit"
    return {"error_type": "result_too_large", "error": text}
