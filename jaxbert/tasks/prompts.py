"""What stands before texts, so that a model knows what they are for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prompts:
    """As E5 has them (Wang et al. 2022, section 4.1), and Nomic, BGE and others after it."""

    query: str = ""
    """Before the anchor, e.g. "query: "."""
    document: str = ""
    """Before what belongs to it, and before negatives, e.g. "passage: "."""
    default: str = ""
    """Before texts to predict of which task.prompt says nothing."""

    def of_columns(self, count: int) -> tuple[str, ...]:
        """Those of a row's texts: the anchor, then others."""
        return (self.query, *[self.document] * (count - 1))
