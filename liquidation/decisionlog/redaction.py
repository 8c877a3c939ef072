"""What of a line is not told: ids as stable hashes, and only a share of the accepted decisions."""

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from liquidation.rules.numbers import ONE, ZERO

_HASH_BYTES: Final = 12


class Masking:
    """Replaces ids by hashes: the same id is the same hash, in every line, process and run.

    The hashes are keyed, so that nobody without the key finds an id by trying all there are.
    """

    def __init__(self, keys: tuple[str, ...], secret: str) -> None:
        """`keys` are those whose texts are masked, wherever in a line; none masks nothing."""
        self._keys = frozenset(keys)
        # BLAKE2 takes a key of up to 64 bytes; a secret may be of any length.
        self._secret = hashlib.blake2b(secret.encode(), digest_size=64).digest()

    @property
    def masks(self) -> bool:
        """Whether anything is masked at all."""
        return bool(self._keys)

    def apply(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """`line` with its ids masked; the key `masked` tells which."""
        if not self._keys:
            return dict(line)
        masked: dict[str, Any] = self._masked(line)
        return masked | {"masked": sorted(self._keys)}

    def _masked(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                key: self._hash(each)
                if key in self._keys and isinstance(each, str)
                else self._masked(each)
                for key, each in value.items()
            }
        if isinstance(value, list):
            return [self._masked(each) for each in value]
        return value

    def _hash(self, text: str) -> str:
        if not text:
            return text
        digest = hashlib.blake2b(text.encode(), digest_size=_HASH_BYTES, key=self._secret)
        return f"masked-{digest.hexdigest()}"


class Sampling:
    """Keeps an even share of what it is asked about, the first included where the share is all."""

    def __init__(self, share: Decimal = ONE) -> None:
        """`share` is within 0 and 1, both inclusive."""
        self.share = share
        self.keeps_all = share == ONE
        self._owed = ZERO

    def keeps(self) -> bool:
        """Whether this one is kept."""
        if self.keeps_all:
            return True
        self._owed += self.share
        if self._owed < ONE:
            return False
        self._owed -= ONE
        return True
