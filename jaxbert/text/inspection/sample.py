"""A random part of a corpus of unknown size, in bounded memory."""

from collections.abc import Callable
from hashlib import blake2b

_DRAWS = 2**64
_HELD_OUT_EVERY = 10


class Sample:
    """Documents in two parts, nine tenths to train on and one to judge by.

    Which documents it holds depends on how many came before each, and on the sizes, alone; every
    document is as likely to be in it as any other. `size_of` is what `max_size` and `size` count:
    characters, unless it is given.
    """

    def __init__(self, max_size: int, size_of: Callable[[str], int] = len):
        self.max_size = max_size
        self.size = 0
        self._size_of = size_of
        self._kept: list[tuple[int, str]] = []
        self._below = _DRAWS
        self._seen = 0

    @property
    def is_whole(self) -> bool:
        """Whether it holds every document that was offered."""
        return self._below == _DRAWS

    @property
    def texts(self) -> list[str]:
        """All of it, in order."""
        return [text for _, text in self._kept]

    @property
    def training(self) -> list[str]:
        """What a tokenizer may learn from."""
        return [text for draw, text in self._kept if draw % _HELD_OUT_EVERY]

    @property
    def held_out(self) -> list[str]:
        """What no tokenizer has learnt from, unless it is in the corpus twice."""
        return [text for draw, text in self._kept if not draw % _HELD_OUT_EVERY]

    def add(self, text: str) -> None:
        """Offers a document; where there are too many, half of those held go."""
        number = self._seen.to_bytes(8, "little")
        draw = int.from_bytes(blake2b(number, digest_size=8).digest(), "little")
        self._seen += 1
        if draw >= self._below:
            return
        self._kept.append((draw, text))
        self.size += self._size_of(text)
        while self.size > self.max_size:
            self._below //= 2
            self._kept = [kept for kept in self._kept if kept[0] < self._below]
            self.size = sum(self._size_of(text) for _, text in self._kept)
