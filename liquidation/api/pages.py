"""Pages: how many rows one has, and the tokens that tell where it begins."""

import base64
import binascii
from typing import Final

from liquidation.api.failures import refused_field
from liquidation.rules.numbers import MAX_INT64
from liquidation.rules.policy import MAX_PAGE

_DEFAULT_PAGE: Final = 100
_INT64_DIGITS: Final = 19


def page_rows(size: int) -> int:
    """How many rows a page has if `size` are asked for; 0 asks for 100.

    Raises:
        RefusedError: -1005 for a size that is negative or above 1000.
    """
    if not 0 <= size <= MAX_PAGE:
        raise refused_field("page_size", f"must be 0 to {MAX_PAGE}")
    return size or _DEFAULT_PAGE


def page_token(word: str, key: int | None) -> str:
    """The token of the page that begins `word` ("after" or "below") a key; "" for None."""
    return "" if key is None else base64.urlsafe_b64encode(f"{word}:{key}".encode()).decode()


def key_of(token: str, word: str) -> int:
    """The key in a page token; 0 for the first page.

    Raises:
        RefusedError: -1005, if `page_token` did not make it.
    """
    if not token:
        return 0
    try:
        said, _, key = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
    except (binascii.Error, UnicodeError):
        said = key = ""
    digits = key.isascii() and key.isdigit() and len(key) <= _INT64_DIGITS
    number = int(key) if digits else MAX_INT64 + 1
    if said != word or number > MAX_INT64:
        raise refused_field("page_token", "is not a token that this service gave")
    return number
