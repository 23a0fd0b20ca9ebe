"""Somebody who is told how far long work has come."""

from typing import Protocol


class Watch(Protocol):
    """Told of the stages of going through sources."""

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins; `total` is what all that `advance` gets will add up to, if known."""

    def advance(self, amount: int) -> None:
        """So much more of the stage's total has been read (bytes on disk of a file)."""

    def took(self, text_bytes: int) -> None:
        """So much more text went through the stage."""


class Unwatched:
    """A `Watch` that does not care."""

    def start(self, stage: str, total: int | None) -> None:
        """Nothing."""

    def advance(self, amount: int) -> None:
        """Nothing."""

    def took(self, text_bytes: int) -> None:
        """Nothing."""
