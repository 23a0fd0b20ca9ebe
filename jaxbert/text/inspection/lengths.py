"""How long the rows of a corpus are, and the maximum length that follows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxbert.text.files import tokenizer_file
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.vocabulary import read_object

PERCENTILES = (50, 75, 90, 95, 99, 100)
LIMITS = (64, 128, 256, 512)
_USUAL = (32, 64, 128, 256, 384, 512, 1024, 2048, 4096, 8192)
_MULTIPLE = 8
_COVERED = 95
# Their first position is the one after the number of the padding token.
_OFFSET_POSITIONS = (
    *("roberta", "xlm-roberta", "camembert", "roberta-prelayernorm", "xlm-roberta-xl"),
    *("data2vec-text", "mpnet", "esm"),
)


@dataclass(frozen=True)
class LengthFigures:
    """Lengths in tokens, with the special tokens that the model sees.

    `percentiles` are lengths that so many per cent of the rows do not exceed; `truncated` is the
    share of rows longer than a limit. `recommended` is the 95th percentile rounded up to a multiple
    of 8, or `model_limit` where that is less; `next_usual` is the usual length that holds it.
    """

    special_tokens: int
    mean: float
    percentiles: Mapping[int, int]
    truncated: Mapping[int, float]
    model_limit: int | None
    recommended: int
    truncated_at_recommended: float
    next_usual: int | None

    @property
    def is_capped(self) -> bool:
        """Whether the model's positions decide on the recommended length, not the text."""
        return self.recommended < _rounded(self.percentiles[_COVERED])


def length_figures(
    counts: Mapping[int, int], special_tokens: int, model_limit: int | None
) -> LengthFigures:
    """`counts`: rows by length, at least one row."""
    rows = sum(counts.values())
    percentiles = {q: percentile(counts, q) for q in PERCENTILES}
    recommended = _rounded(percentiles[_COVERED])
    if model_limit is not None:
        recommended = min(recommended, model_limit)
    return LengthFigures(
        special_tokens=special_tokens,
        mean=sum(length * count for length, count in counts.items()) / rows,
        percentiles=percentiles,
        truncated={limit: truncated(counts, limit) for limit in LIMITS},
        model_limit=model_limit,
        recommended=recommended,
        truncated_at_recommended=truncated(counts, recommended),
        next_usual=next((usual for usual in _USUAL if usual >= recommended), None),
    )


def _rounded(length: int) -> int:
    return -(-length // _MULTIPLE) * _MULTIPLE


def percentile(counts: Mapping[int, int], per_cent: int) -> int:
    """The smallest length that at least so many per cent of the rows do not exceed."""
    rank = max(1, -(-per_cent * sum(counts.values()) // 100))
    seen = 0
    for length in sorted(counts):
        seen += counts[length]
        if seen >= rank:
            return length
    raise ValueError("no rows to take a percentile of")


def truncated(counts: Mapping[int, int], limit: int) -> float:
    """Share of the rows that are longer."""
    longer = sum(count for length, count in counts.items() if length > limit)
    return longer / sum(counts.values())


def model_limit(place: str | Path, tokenizer: Tokenizer) -> int | None:
    """Longest row that a model takes, by the tokenizer and by a config.json beside its file."""
    fields = read_object(tokenizer_file(place).with_name("config.json"))
    limits = [tokenizer.model_max_length]
    positions = fields.get("max_position_embeddings")
    # XLNet and its like write -1 for "any".
    if isinstance(positions, int) and positions > 0:
        is_offset = fields.get("model_type") in _OFFSET_POSITIONS
        is_offset = is_offset and fields.get("position_embedding_type") != "rotary"
        padding = fields.get("pad_token_id")
        padding = padding if isinstance(padding, int) else 1
        limits.append(positions - (padding + 1 if is_offset else 0))
    return min((limit for limit in limits if limit is not None), default=None)
