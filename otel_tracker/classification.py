r"""An exception → one `error_type` of a closed list. Pure: no I/O but the source lines a traceback quotes.

In: an exception, or its qualified class names when it was raised in another process. Out: a member of `ERROR_TYPES`.
Never raises, whatever the exception's own methods do.

Evidence, strongest first: an HTTP status that the exception carries; the class and its bases, by qualified name (so no
library is imported); a class name that says it (`FooTimeout`, `BarNotFoundError`); the members of a group, the explicit
cause, the context unless suppressed, each the same way; only then the message, by whole words; a bare `ValueError` is
taken as validation last of all. Whatever remains is `unknown_error`.
"""

from __future__ import annotations

import errno
import linecache
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

ERROR_TYPES: tuple[str, ...] = (
    "timeout", "connection_error", "permission_denied", "validation_error", "not_found", "unauthorized", "forbidden",
    "unknown_error",
    "rate_limited", "conflict", "upstream_error", "interrupted", "canceled", "worker_crashed", "plugin_exited",
    "memory_limit", "unserializable_result", "result_too_large", "import_error", "database_error",
    "plugin_broken", "method_not_allowed", "overloaded",
)  # fmt: skip
"""The closed list. The first eight are the contract; `interrupted`, `result_too_large` and the last three are given by
the runner of plugins only.
"""

UNKNOWN = "unknown_error"
MAX_CHAIN = 16
MAX_MESSAGE = 500
MAX_TRACEBACK = 16 * 1024
_MAX_FRAMES = 40
_MAX_TEXT = 2000

_CLASSES: dict[str, str] = {
    name: kind
    for kind, names in {
        "timeout": "TimeoutError asyncio.exceptions.TimeoutError concurrent.futures._base.TimeoutError"
        " httpx.TimeoutException requests.exceptions.Timeout urllib3.exceptions.TimeoutError"
        " aiohttp.client_exceptions.ServerTimeoutError subprocess.TimeoutExpired redis.exceptions.TimeoutError"
        " sqlalchemy.exc.TimeoutError psycopg.errors.QueryCanceled",
        "connection_error": "ConnectionError socket.gaierror socket.herror ssl.SSLError urllib.error.URLError"
        " http.client.RemoteDisconnected http.client.IncompleteRead httpx.TransportError"
        " requests.exceptions.ConnectionError urllib3.exceptions.HTTPError"
        " aiohttp.client_exceptions.ClientConnectionError"
        " redis.exceptions.ConnectionError smtplib.SMTPServerDisconnected smtplib.SMTPConnectError"
        " otel_tracker.errors.StorageUnavailableError",
        "permission_denied": "PermissionError",
        "not_found": "FileNotFoundError ProcessLookupError sqlalchemy.exc.NoResultFound",
        "validation_error": "UnicodeError json.decoder.JSONDecodeError msgspec.ValidationError msgspec.DecodeError"
        " pydantic_core._pydantic_core.ValidationError pydantic.error_wrappers.ValidationError"
        " marshmallow.exceptions.ValidationError jsonschema.exceptions.ValidationError yaml.error.YAMLError",
        "unauthorized": "smtplib.SMTPAuthenticationError imaplib.IMAP4.error",
        "interrupted": "KeyboardInterrupt",
        "canceled": "asyncio.exceptions.CancelledError concurrent.futures._base.CancelledError",
        "worker_crashed": "concurrent.futures.process.BrokenProcessPool concurrent.futures._base.BrokenExecutor",
        "plugin_exited": "SystemExit",
        "memory_limit": "MemoryError",
        "unserializable_result": "pickle.PickleError _pickle.PickleError msgspec.EncodeError",
        "import_error": "ImportError SyntaxError",
        "database_error": "sqlite3.Error sqlalchemy.exc.DBAPIError psycopg.Error pymysql.err.Error"
        " MySQLdb.MySQLError asyncpg.exceptions._base.PostgresError",
    }.items()
    for name in names.split()
}
# What these names mean is said by nothing else about them; `(?:Error|Exception)?$` keeps them at the end of the name.
_NAME_RULES = tuple(
    (re.compile(rf"(?:{pattern})(?:Error|Exception|Exc)?$"), kind)
    for pattern, kind in (
        ("Time[dO]?[oO]?ut|TimedOut|DeadlineExceeded", "timeout"),
        ("RateLimit(?:ed|Exceeded)?|TooManyRequests|Throttl(?:ed|ing)", "rate_limited"),
        ("Unauthorized|Unauthenticated|NotAuthorized|Authentication(?:Failed)?|NotAuthenticated", "unauthorized"),
        ("Forbidden", "forbidden"),
        ("PermissionDenied|AccessDenied", "permission_denied"),
        ("NotFound|DoesNotExist|NoSuch[A-Za-z]+", "not_found"),
        ("Validation|Invalid[A-Z][A-Za-z]*|Schema", "validation_error"),
        ("Conn(?:ection|ect)(?:Refused|Reset|Closed)?", "connection_error"),
    )
)
_STATUSES = {
    400: "validation_error", 401: "unauthorized", 403: "forbidden", 404: "not_found", 408: "timeout",
    409: "conflict", 410: "not_found", 413: "validation_error", 415: "validation_error", 422: "validation_error",
    429: "rate_limited", 502: "connection_error", 503: "connection_error", 504: "timeout",
}  # fmt: skip
_ERRNOS = frozenset({
    errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL, errno.ENOTCONN,
})  # fmt: skip
_TEXT_RULES = tuple(
    (re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), kind)
    for pattern, kind in (
        ((r"timed[ -]?out|time-?out (?:exceeded|expired|reached|after|of)|(?:read|connect\w*) timeout"
         r"|deadline exceeded"), "timeout"),
        ((r"connection (?:refused|reset|aborted|closed|failed|error)|name or service not known|network is unreachable"
         r"|no route to host|(?:could not|cannot|failed to|unable to) connect"), "connection_error"),
        (r"rate limit(?:ed| exceeded| reached)|too many requests", "rate_limited"),
        (r"permission denied|access denied|operation not permitted", "permission_denied"),
        (r"unauthori[sz]ed|authentication (?:failed|required)|invalid credentials", "unauthorized"),
        (r"403 forbidden|is forbidden|forbidden", "forbidden"),
        ((r"validation (?:failed|errors?)|(?:is|are) required|missing required|invalid (?:json|input|value|argument|"
         r"parameter|payload|format)"), "validation_error"),
        (r"not found|no such file(?: or directory)?|does not exist", "not_found"),
    )
)  # fmt: skip


def classify(error: BaseException) -> str:
    """The `error_type` of an exception, by its class, then its causes, then their words.

    >>> classify(TimeoutError())
    'timeout'
    """
    chain = list(_chain(error))
    for link in chain:
        kind = _by_status(_status(link)) or _by_names(_names(type(link))) or _by_errno(link)
        if kind:
            return kind
    message = " ".join(error_text(link) for link in chain[:4])
    return _by_text(message) or _weak([_names(type(link)) for link in chain])


def classify_names(
    chain: Sequence[Sequence[str]] | Sequence[str], message: str, *, http_status: int | None = None
) -> str:
    """The same for an exception known by name only.

    `chain` holds, for each exception from the outermost to its last cause, its qualified class name followed by those
    of its bases (`["httpx.ConnectTimeout", "httpx.TimeoutException", ...]`); a flat list of names is one exception.
    """
    flat = [name for name in chain if isinstance(name, str)]
    links = [flat] if flat else [list(names) for names in chain[:MAX_CHAIN]]
    known = _by_status(http_status)
    for names in links:
        known = known or _by_names(names)
    return known or _by_text(message[:_MAX_TEXT]) or _weak(links)


def class_names(error: BaseException) -> list[list[str]]:
    """What `classify_names` takes, to be sent from the process that saw the exception."""
    return [_names(type(link)) for link in _chain(error)]


def format_error(error: BaseException) -> tuple[str, str]:
    """The message on one line (500 characters) and the traceback (16 KiB), causes first.

    Where the message says nothing the class name stands for it. The traceback is made without the standard library's
    formatter, which checks every source file on disk again and costs several times as much.
    """
    name = _names(type(error))[0]
    message = " ".join(error_text(error).split())
    if not message or isinstance(error, KeyError):
        message = f"{name}: {message}" if message else name
    return _safe(message)[:MAX_MESSAGE], _format_chain(error)


def error_text(error: BaseException) -> str:
    """What the exception says of itself (2000 characters), as every store takes it."""
    try:
        text = str(error)
    except (Exception, SystemExit):  # noqa: BLE001 - whatever fails here must not reach the code around it
        return "[unprintable]"
    return _safe(str.__getitem__(text, slice(0, _MAX_TEXT)))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, members of a group, then its cause or its context, each once. Reads C-level slots only."""
    queue, seen = [error], set[int]()
    while queue and len(seen) < MAX_CHAIN:
        link = queue.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if issubclass(type(link), BaseExceptionGroup):
            queue.extend(BaseExceptionGroup.exceptions.__get__(link)[:MAX_CHAIN])
        behind = _behind(link)
        if behind is not None:
            queue.append(behind)


def _behind(error: BaseException) -> BaseException | None:
    cause: BaseException | None = BaseException.__cause__.__get__(error)  # type: ignore[union-attr]
    if cause is not None or BaseException.__suppress_context__.__get__(error):  # type: ignore[attr-defined]
        return cause
    return BaseException.__context__.__get__(error)  # type: ignore[union-attr, no-any-return]


def _names(kind: type) -> list[str]:
    return [f"{base.__module__}.{base.__qualname__}".removeprefix("builtins.") for base in type.mro(kind)]


def _by_names(names: Sequence[str]) -> str:
    for name in names:
        kind = _CLASSES.get(name.removeprefix("builtins."), "")
        if kind:
            return kind
        if "." in name:  # our own table is complete for builtins
            last = name.rpartition(".")[2]
            for pattern, said in _NAME_RULES:
                if pattern.search(last):
                    return said
    return ""


def _by_status(status: int | None) -> str:
    if status is None or not 400 <= status <= 599:
        return ""
    return _STATUSES.get(status, "validation_error" if status < 500 else "upstream_error")


def _by_errno(error: BaseException) -> str:
    if not issubclass(type(error), OSError):
        return ""
    number = vars(OSError)["errno"].__get__(error)
    return "connection_error" if type(number) is int and number in _ERRNOS else ""


def _status(error: BaseException) -> int | None:
    """An HTTP status on the exception or its response; builtin classes carry none (`SystemExit.code` is no status)."""
    if type(error).__module__ == "builtins" or issubclass(type(error), SystemExit):
        return None
    for owner in (_read(error, "response"), error):
        for name in ("status_code", "status", "code"):
            value = _read(owner, name)
            if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
                return int(value)
    return None


def _read(owner: object, name: str) -> object:
    try:
        return getattr(owner, name, None)
    except (Exception, SystemExit):  # noqa: BLE001 - whatever fails here must not reach the code around it
        return None


def _by_text(message: str) -> str:
    return next((kind for pattern, kind in _TEXT_RULES if pattern.search(message)), "")


def _weak(links: Sequence[Sequence[str]]) -> str:
    """`ValueError` says little, but more than nothing."""
    values = any(name.removeprefix("builtins.") == "ValueError" for names in links for name in names)
    return "validation_error" if values else UNKNOWN


def _safe(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _format_chain(error: BaseException) -> str:
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and len(links) < 5 and not any(link is known for known in links):
        links.append(link)
        link = _behind(link)
    text = "\nwhich led to:\n\n".join(_format_one(each) for each in reversed(links))
    encoded = _safe(text).encode()
    if len(encoded) <= MAX_TRACEBACK:
        return encoded.decode()
    # The end is nearest to the failure; the beginning says where the program came from.
    head, tail = encoded[: MAX_TRACEBACK // 4], encoded[-(MAX_TRACEBACK * 3 // 4 - 16) :]
    return f"{head.decode(errors='ignore')}\n[... cut]\n{tail.decode(errors='ignore')}"


def _format_one(error: BaseException) -> str:
    frames = list(_frames(BaseException.__traceback__.__get__(error)))  # type: ignore[union-attr]
    if len(frames) > _MAX_FRAMES:
        half = _MAX_FRAMES // 2
        frames[half:-half] = [f"  [... {len(frames) - _MAX_FRAMES} frames]"]
    header = ["Traceback (most recent call last):"] if frames else []
    return "\n".join([*header, *frames, f"{_names(type(error))[0]}: {error_text(error)}"])


def _frames(entry: TracebackType | None) -> Iterator[str]:
    while entry is not None:
        code = entry.tb_frame.f_code
        place = f'  File "{code.co_filename}", line {entry.tb_lineno}, in {code.co_name}'
        source = linecache.getline(code.co_filename, entry.tb_lineno, entry.tb_frame.f_globals).strip()
        yield f"{place}\n    {source}" if source else place
        entry = entry.tb_next
