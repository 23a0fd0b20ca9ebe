"""How often a masked LM finds the better one of two texts likelier."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

import jax
import numpy as np

from jaxbert.data.arrays import Indices
from jaxbert.data.tables import Row, check_split, whole_rows
from jaxbert.errors import UserError
from jaxbert.experiment.alike import check_same_model
from jaxbert.experiment.inference import Ready
from jaxbert.experiment.predictor import chunks
from jaxbert.experiment.pseudo_likelihood import Masked, Tokens, text_places, token_scorer
from jaxbert.nn.embeddings import longest_input
from jaxbert.parallel.processes import by_turns
from jaxbert.tasks.sentences import text_of
from jaxbert.training.counted import counted

Scored = Literal["all", "shared"]
"""Which tokens of a pair are scored: all, or those that both texts have, which leaves out how
frequent the words are in which they differ (CrowS-Pairs, Nangia et al. 2020)."""


@dataclass(frozen=True)
class PairColumns:
    """Which columns of a table hold what; the names are BLiMP's (Warstadt et al. 2020)."""

    better: str = "sentence_good"
    """The text that should be the likelier one."""
    worse: str = "sentence_bad"
    group: str | None = None
    """What kind of pair it is."""

    @property
    def names(self) -> tuple[str, ...]:
        """All that are read."""
        return (self.better, self.worse) + (() if self.group is None else (self.group,))


def evaluate_minimal_pairs(
    model: Ready,
    data: str,
    columns: PairColumns | None = None,
    *,
    masked: Masked = "token",
    scored: Scored = "all",
) -> dict[str, float]:
    """Of the pairs of a table the share whose better text has the higher pseudo-log-likelihood.

    `accuracy`, also of every group (`accuracy_GROUP`), in which an equal pair counts as wrong;
    `equal`, how many these are; `rows`. Several processes take turns with pairs, each on its own
    devices. Raises UserError for a text that is longer than the model takes.
    """
    columns = columns or PairColumns()
    check_split(data)
    check_same_model(model.loaded.params, model.loaded.directory)
    rows = tuple(whole_rows(data, columns=columns.names, labelled=True))
    limit = longest_input(model.loaded.config)
    score = token_scorer(model, masked=masked, max_seq_length=limit)

    def margins(rows: Iterable[Row]) -> Iterator[float]:
        for some in chunks(rows, model.batch_size):
            texts = [_tokens(model, row, columns, limit) for row in some]
            places = [_places(model, pair, scored) for pair in texts]
            found = score(_flat(texts), _flat(places))
            sums = np.array([each.sum() for each in found]).reshape(-1, 2)
            yield from (sums[:, 0] - sums[:, 1]).tolist()

    found = by_turns(rows, model.rows_at_once, margins)
    is_first = jax.process_index() == 0
    found = counted(found, 1, len(rows), "comparing pairs", quiet=not is_first)
    return _figures(rows, np.array(list(found)), columns.group)


def _tokens(model: Ready, row: Row, columns: PairColumns, limit: int) -> Sequence[Tokens]:
    texts = [text_of(row, name) for name in (columns.better, columns.worse)]
    both = [each.input_ids for each in model.tokenizer.encode_whole(texts)]
    if max(map(len, both)) > limit:
        raise UserError(
            f"{row.place}: {max(map(len, both))} tokens, and {model.loaded.directory} takes at "
            f"most {limit}: shorten both texts, or leave the row out"
        )
    return both


def _places(model: Ready, pair: Sequence[Tokens], scored: Scored) -> Sequence[Indices]:
    """Of both texts the places that are scored."""
    own = [text_places(model, ids) for ids in pair]
    if scored == "all":
        return own
    first, second = (ids[where].tolist() for ids, where in zip(pair, own, strict=True))
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    return [
        where[np.concatenate([np.arange(start, start + size) for start, size in ranges])]
        for where, ranges in zip(
            own, ([(b.a, b.size) for b in blocks], [(b.b, b.size) for b in blocks]), strict=True
        )
    ]


def _flat(pairs: Iterable[Sequence[Any]]) -> list[Any]:
    return [each for pair in pairs for each in pair]


def _figures(rows: Sequence[Row], margins: np.ndarray, group: str | None) -> dict[str, float]:
    is_right = margins > 0
    figures: dict[str, float] = {
        "accuracy": float(is_right.mean()),
        "equal": int((margins == 0).sum()),
        "rows": len(rows),
    }
    if group is not None:
        groups = np.array([str(row.values[group]) for row in rows])
        for name in sorted(set(groups.tolist())):
            figures[f"accuracy_{name}"] = float(is_right[groups == name].mean())
    return figures
