"""What the router remembers of the prompts it sent to each replica, as a guess at what their caches hold."""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence


class PrefixMemory:
    """For each replica the blocks of prompts it was last sent: at most `remembered_blocks`, the oldest forgotten.

    A block is a hash over the prompt's beginning up to the block's end, so that equal hashes mean equal beginnings.
    What a replica's own cache drops is not known here; if both hold about as much, the guess is good.
    """

    def __init__(self, remembered_blocks: int) -> None:
        self._most = remembered_blocks
        self._blocks: dict[str, OrderedDict[int, None]] = {}
        self._holders: dict[int, set[str]] = {}

    def known(self, blocks: Sequence[int]) -> Mapping[str, int]:
        """By replica, how many blocks from the first on it was sent without a gap; those without any are left out."""
        found: dict[str, int] = {}
        holders: set[str] | None = None
        for count, block in enumerate(blocks, 1):
            here = self._holders.get(block)
            holders = here if holders is None else holders & here if here else None
            if not holders:
                break
            for replica in holders:
                found[replica] = count
        return found

    def note(self, replica: str, blocks: Sequence[int]) -> None:
        """A prompt was sent there."""
        own = self._blocks.setdefault(replica, OrderedDict())
        # Backwards, so that the beginning, which others share, is the last to be forgotten.
        for block in reversed(blocks):
            own[block] = None
            own.move_to_end(block)
            self._holders.setdefault(block, set()).add(replica)
        while len(own) > self._most:
            self._drop(own.popitem(last=False)[0], replica)

    def keep(self, replicas: Collection[str]) -> None:
        """Forget replicas that are gone."""
        for replica in self._blocks.keys() - set(replicas):
            for block in self._blocks.pop(replica):
                self._drop(block, replica)

    def _drop(self, block: int, replica: str) -> None:
        holders = self._holders.get(block)
        if holders is not None:
            holders.discard(replica)
            if not holders:
                del self._holders[block]
