"""What a masked LM says of whole texts: every token's probability where that token is masked."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Indices
from jaxbert.data.mask_units import word_starts
from jaxbert.experiment.inference import Ready
from jaxbert.experiment.masked_lm import check_is_masked_lm, outputs_of_rows
from jaxbert.experiment.predictor import chunks
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.functional import make_apply
from jaxbert.tasks.task import run_model
from jaxbert.typing import Array, Batch, Params

Masked = Literal["token", "rest_of_word"]
"""What is masked where a token is scored: that token alone (Salazar et al. 2020), or also those
behind it in its word (Kauf and Ivanova 2023), which else give it away."""

Tokens = NDArray[np.int32]
Scores = NDArray[np.float64]
TokenScorer = Callable[[Sequence[Tokens], Sequence[Indices]], list[Scores]]
"""(ids of every text, places in each of them) -> natural logarithms of the probabilities there."""

# Every scored token is a copy of its text: so many tokens of copies are made at once.
_TOKENS_AT_ONCE = 2**22


def text_scorer(
    model: Ready, *, masked: Masked = "token", max_seq_length: int | None = None
) -> Callable[[Iterable[str]], Iterator[dict[str, Any]]]:
    """Texts -> for every text `pseudo_log_likelihood`, the sum over its `tokens` of their
    `log_probability`.

    Special tokens and [MASK]s are not scored. `tokens_cut_off`: how many a text has beyond
    `max_seq_length` (None: what the model takes). Texts are taken as they come.
    """
    longest = max_seq_length or longest_input(model.loaded.config)
    score = token_scorer(model, masked=masked, max_seq_length=longest)
    pieces = model.tokenizer.vocab()

    def scored(texts: Iterable[str]) -> Iterator[dict[str, Any]]:
        for some in chunks(texts, model.batch_size):
            rows = model.tokenizer.encode(some, max_length=longest, padding=False)["input_ids"]
            places = [text_places(model, ids) for ids in rows]
            whole = model.tokenizer.encode_whole(some)
            for number, scores in enumerate(score(rows, places)):
                tokens = zip(rows[number][places[number]], scores.tolist(), strict=True)
                yield {
                    "text": some[number],
                    "pseudo_log_likelihood": float(scores.sum()),
                    "tokens": [{"token": pieces[i], "log_probability": x} for i, x in tokens],
                    "tokens_cut_off": len(whole[number].input_ids) - len(rows[number]),
                }

    return scored


def text_places(model: Ready, ids: Tokens) -> Indices:
    """Where a text's own tokens are: an unknown word is one, a [MASK] is not."""
    others = model.tokenizer.special_ids - {model.tokenizer.unk_id}
    return np.flatnonzero(~np.isin(ids, sorted(others)))


def token_scorer(model: Ready, *, masked: Masked = "token", max_seq_length: int) -> TokenScorer:
    """The function that scores chosen tokens of texts; UserError for what is no masked LM."""
    check_is_masked_lm(model)
    apply = make_apply(model.loaded.config, model.loaded.head, model.dtype)
    continues = model.tokenizer.is_continuation()

    @jax.jit
    def step(params: Params, batch: Batch) -> Array:
        logits = run_model(apply, params, batch).logits[:, 0].astype(jnp.float32)
        chosen = jnp.take_along_axis(logits, batch["tokens"][:, None], axis=1)[:, 0]
        return chosen - jax.nn.logsumexp(logits, axis=1)

    def some(texts: Sequence[Tokens], places: Sequence[Indices]) -> list[Scores]:
        copies = [
            np.where(_hidden(model, ids, where, continues, masked), model.tokenizer.mask_id, ids)
            for ids, where in zip(texts, places, strict=True)
        ]
        counts = [len(where) for where in places]
        if not sum(counts):
            return [np.zeros(0) for _ in counts]
        features = {
            "input_ids": [row for rows in copies for row in rows],
            "masked_lm_positions": np.concatenate(places)[:, None],
            "tokens": np.concatenate([ids[w] for ids, w in zip(texts, places, strict=True)]),
        }
        scores = np.zeros(sum(counts))
        for row, value in outputs_of_rows(model, step, features, max_seq_length):
            scores[row] = value
        return np.split(scores, np.cumsum(counts)[:-1])

    def score(texts: Sequence[Tokens], places: Sequence[Indices]) -> list[Scores]:
        found: list[Scores] = []
        for first, last in _parts([len(t) * len(p) for t, p in zip(texts, places, strict=True)]):
            found += some(texts[first:last], places[first:last])
        return found

    return score


def _hidden(
    model: Ready, ids: Tokens, places: Indices, continues: NDArray[np.bool_], masked: Masked
) -> NDArray[np.bool_]:
    """[places, tokens]: what is masked in the copy of a text of which a place is scored."""
    columns = np.arange(len(ids))
    if masked == "token":
        return columns == places[:, None]
    is_text = np.zeros(len(ids), bool)
    is_text[text_places(model, ids)] = True
    words = np.where(is_text, np.cumsum(word_starts(is_text, continues[ids])), -1)
    return (words == words[places][:, None]) & (columns >= places[:, None])


def _parts(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of texts whose sizes add up to no more than is made at once; a larger one alone."""
    first = total = 0
    for number, size in enumerate(sizes):
        if number > first and total + size > _TOKENS_AT_ONCE:
            yield first, number
            first, total = number, 0
        total += size
    if len(sizes) > first:
        yield first, len(sizes)
