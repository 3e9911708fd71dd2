r"""What is secret by its name becomes `[redacted]`, before it enters a span, a record or a log.

In: values as JSON has them (dicts, lists, tuples, strings), headers, URLs. Out: the same, copied only where something
was hidden; the original is never modified. Never looks into other objects (`capture` turns them into these first).

How a key is judged. It is split into words at separators and camel case, lower-cased; qualifiers that still hold the
value (`password_hash`, `token_value`, `password2`) are dropped from the end; then the *last* word or words decide, as
in English: `access_token`, `refreshToken`, `X-API-Key`, `dbPassword` are secret; `token_count`, `tokens_used`,
`max_tokens`, `password_changed_at`, `author`, `secretary`, `nextPageToken`, `has_password` are not. Signature headers
stay: a signature is no secret, and a missing one is what people debug. Values inside strings are hidden where a string
is itself a JSON object or list (a form field `payload={...}`), and where it holds a URL with `user:password@`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REDACTED = "[redacted]"
TOO_DEEP = "[too deep]"
MAX_DEPTH = 64
MAX_NESTED_JSON = 64 * 1024
"""Characters; a longer string is not parsed as JSON."""

_MAX_VERDICTS = 8192
_MAX_KEY = 128
"""Characters of a key that are judged, from its end; longer keys are never cached."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+")
_QUALIFIERS = _words(
    "hash hashed value text plain plaintext raw confirmation confirm encrypted pem base64 b64 header old new"
)
_FLAGS = _words("is has had no needs require requires required use uses show forgot")
_NOUNS = _words(
    "password passwords passwd pwd passphrase passcode secret secrets token credential credentials cookie cookies"
    " authorization jwt dsn cvv cvc apikey apikeys"
)
_PAIRS = frozenset(
    [
        "api key",
        "api keys",
        "private key",
        "private keys",
        "secret key",
        "secret keys",
        "access key",
        "access keys",
        "signing key",
        "master key",
        "encryption key",
        "account key",
        "shared key",
        "session id",
        "session key",
        "connection string",
        "card number",
        "security code",
        "credit card",
        "authorization code",
        "auth code",
        "code verifier",
        "client assertion",
        "auth key",
        "license key",
    ]
)
_NAMES = _words(
    "auth xauth basicauth httpauth tokens dbpass userpass smtppass mailpass jsessionid phpsessid sid samlresponse"
    " cfaccessjwtassertion privatekey secretkey accesskey sessionid sessionkey connectionstring cardnumber creditcard"
    " accesstoken refreshtoken idtoken authtoken apitoken bearertoken csrftoken xsrftoken sessiontoken devicetoken"
    " clientsecret apisecret appsecret clientcredentials signingkey encryptionkey masterkey setcookie"
    " 密码 口令 密钥 令牌"
)
_TAILS = ("password", "passwd", "passphrase", "apikey", "密码", "密钥")
_PUBLIC_TOKENS = frozenset({"page", "continuation", "pagination", "cursor", "next"})
_TOKEN_KINDS = _words("access refresh auth api bearer id session secret device csrf")

_USERINFO = re.compile(r"(://[^/\s\"'@:?#]*):([^/\s\"'@]+)@")
_QUERY_PAIR = re.compile(r"([?&;#])([^=&;#?]+)=([^&;#]*)")


def key_words(key: str) -> list[str]:
    """The lower-cased words of a key: `X-API-Key` and `xApiKey` both give x, api, key."""
    return [word.lower() for word in _BOUNDARY.split(key[-_MAX_KEY:]) if word]


def is_secret_key(key: str) -> bool:
    """Whether a value under this key is hidden, by the rules above; not cached."""
    words = key_words(key)
    if words and words[0] in _FLAGS and len(words) > 1:
        return False
    while len(words) > 1 and (words[-1] in _QUALIFIERS or words[-1].isdigit()):
        words.pop()
    if not words:
        return False
    last = words[-1].rstrip("0123456789")
    before = words[-2] if len(words) > 1 else ""
    if last == "token":
        return before not in _PUBLIC_TOKENS
    if last == "tokens":
        return not before or before in _TOKEN_KINDS
    if last in _NOUNS or f"{before} {last}" in _PAIRS or last.endswith(_TAILS):
        return True
    return last in _NAMES if not before else "".join(words) in _NAMES


class _Verdicts(dict[str, bool]):
    """Keys already judged; forgets everything when full, so that hostile keys cannot grow it."""

    def __init__(self, names: frozenset[str], leaves: frozenset[str]) -> None:
        super().__init__()
        self.innocent: set[str] = set()
        """Those of the keys that are not secret: `innocent.issuperset(keys)` costs half of asking for each."""
        self._names = names
        self._leaves = leaves

    def __missing__(self, key: str) -> bool:
        joined = "".join(key_words(key)) if self._names or self._leaves else ""
        verdict = is_secret_key(key) or joined in self._names
        if len(key) <= _MAX_KEY:
            if len(self) >= _MAX_VERDICTS:
                self.clear()
                self.innocent.clear()
            self[key] = verdict
            if not verdict:
                self.innocent.add(key)
        return verdict

    def is_path_end(self, key: str) -> bool:
        return "".join(key_words(key)) in self._leaves


class Redactor:
    """Hides secrets by key. Thread-safe; make one per program, it remembers its verdicts.

    `extra_keys` adds names (`"iban"`, matched in any case and separator) and paths from the root (`"user.address"`,
    lists are passed through, `*` is any key).

    >>> Redactor().redact({"user": "ada", "apiKey": "k"})
    ({'user': 'ada', 'apiKey': '[redacted]'}, True)
    """

    def __init__(self, extra_keys: Iterable[str] = ()) -> None:
        split = [[_normal(part) for part in key.split(".")] for key in extra_keys]
        self._paths: tuple[tuple[str, ...], ...] = tuple(tuple(parts) for parts in split if len(parts) > 1)
        leaves = frozenset(path[-1] for path in self._paths)
        names = frozenset(parts[0] for parts in split if len(parts) == 1 and parts[0])
        self.verdicts = _Verdicts(names, leaves)
        """`verdicts[key]` is whether a key is secret by name; computed once for a key."""

    @property
    def has_paths(self) -> bool:
        """Whether key paths were given; names alone do not decide then."""
        return bool(self._paths)

    def redact(self, value: Any) -> tuple[Any, bool]:
        """The value without its secrets, and whether anything was hidden. The same object where nothing was."""
        result = self._walk(value, 0, self._paths)
        return result, result is not value

    def redact_headers(self, headers: Iterable[tuple[bytes, bytes]] | Mapping[str, str]) -> dict[str, str]:
        """Headers as text (latin-1), names lower-cased, secrets hidden, repeated ones joined by a comma."""
        result: dict[str, str] = {}
        pairs = headers.items() if hasattr(headers, "items") else headers
        for raw_name, raw_value in pairs:
            name = (raw_name.decode("latin-1") if isinstance(raw_name, bytes) else str(raw_name)).lower()
            if self.verdicts[name]:
                result[name] = REDACTED
                continue
            text = raw_value.decode("latin-1") if isinstance(raw_value, bytes) else str(raw_value)
            text = self.redact_url(text) if "://" in text else text
            result[name] = f"{result[name]}, {text}" if name in result else text
        return result

    def redact_url(self, url: str) -> str:
        """The URL (or a bare `?query`) with its password and its secret parameters hidden.

        >>> Redactor().redact_url("https://u:p@host/a?token=x&b=1")
        'https://u:[redacted]@host/a?token=[redacted]&b=1'
        """
        if "@" in url and "://" in url:
            url = _USERINFO.sub(rf"\1:{REDACTED}@", url)
        return _QUERY_PAIR.sub(self._redact_pair, url) if "=" in url else url

    def _redact_pair(self, match: re.Match[str]) -> str:
        start, key, _ = match.groups()
        return f"{start}{key}={REDACTED}" if self.verdicts[unquote_plus(key)] else match.group()

    def _walk(self, value: Any, depth: int, paths: tuple[tuple[str, ...], ...]) -> Any:
        kind = type(value)
        if kind is str:
            return self._redact_text(value, depth)
        if kind is not dict and kind is not list and kind is not tuple:
            return value
        if depth >= MAX_DEPTH:
            return TOO_DEEP
        if kind is dict:
            return self._walk_dict(value, depth, paths)
        copy: list[Any] | None = None
        for index, item in enumerate(value):
            new = self._walk(item, depth + 1, paths)
            if new is not item:
                copy = list(value) if copy is None else copy
                copy[index] = new
        if copy is None:
            return value
        return copy if kind is list else tuple(copy)

    def _walk_dict(self, value: dict[Any, Any], depth: int, paths: tuple[tuple[str, ...], ...]) -> Any:
        copy: dict[Any, Any] | None = None
        for key, item in value.items():
            name = key if type(key) is str else key.decode("latin-1") if type(key) is bytes else ""
            below = _step(paths, name) if paths else ()
            if self.verdicts[name] or () in below:
                new: Any = REDACTED
            else:
                new = self._walk(item, depth + 1, below)
            if new is not item:
                copy = dict(value) if copy is None else copy
                copy[key] = new
        return value if copy is None else copy

    def _redact_text(self, text: str, depth: int) -> str:
        if "://" in text and "@" in text:
            hidden = _USERINFO.sub(rf"\1:{REDACTED}@", text)
            text = text if hidden == text else hidden
        if len(text) > MAX_NESTED_JSON or text.lstrip(" \t\r\n")[:1] not in ("{", "["):
            return text
        try:
            parsed = msgspec.json.decode(text)
            hidden_value = self._walk(parsed, depth + 1, ())
            return text if hidden_value is parsed else msgspec.json.encode(hidden_value).decode()
        except (ValueError, RecursionError):
            return text  # not JSON after all, or deeper than any reader would follow


def _normal(part: str) -> str:
    return "*" if part.strip() == "*" else "".join(key_words(part))


def _step(paths: tuple[tuple[str, ...], ...], key: str) -> tuple[tuple[str, ...], ...]:
    """What is left of each path below this key; an empty path means: this very value."""
    name = "".join(key_words(key))
    return tuple(path[1:] for path in paths if path and path[0] in (name, "*"))
