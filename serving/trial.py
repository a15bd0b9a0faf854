"""A second bundle beside the first: it answers a share of the users, or shows in the shadow what it would answer."""

import hashlib
from dataclasses import dataclass

from serving.variant import Variant


@dataclass(frozen=True, eq=False, kw_only=True)
class Trial:
    """Who is asked of the second bundle, and whether they see its answer."""

    variant: Variant
    share: float
    """Of users."""
    salt: bytes
    """Another one deals the users anew."""
    shadow: bool
    """The first bundle answers everyone; the second answers the share as well, and is only compared."""

    def takes(self, user_id: str | None) -> bool:
        """Whether a user belongs to the share: by a keyed hash, always the same for the same user. Nobody does not."""
        if user_id is None:
            return False
        digest = hashlib.blake2b(user_id.encode(errors="replace"), key=self.salt[:64], digest_size=8).digest()
        return int.from_bytes(digest) < self.share * 2**64


def overlap(one: list[str], other: list[str]) -> float:
    """The share of the first list that the second holds too; 1 where the first is empty.

    Example:
        >>> overlap(["a", "b", "c", "d"], ["d", "x", "a"])
        0.5
    """
    return len(set(one) & set(other)) / len(set(one)) if one else 1.0
