"""Another vocabulary for a model that has learnt one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from jaxbert.adapt.positions import move_padding
from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.text.extend import add_tokens, pieces_of
from jaxbert.text.special_tokens import BERT_TOKENS
from jaxbert.text.surface import surfaces
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.tree import map_with_path
from jaxbert.typing import Params

Init = Literal["mean_of_pieces"] | Mapping[str, str]
Sources = Sequence[tuple[int, ...]]
"""For every token of a vocabulary the old rows whose mean its row is; none: zeros."""

TABLES = ("encoder/embeddings/word/embedding", "masked_lm/decoder", "masked_lm/bias")
"""What has a row for every token."""


def extend_vocabulary(
    params: Params,
    config: EncoderConfig,
    old_tokenizer: Tokenizer,
    new_tokens: Sequence[str],
    init: Init = "mean_of_pieces",
) -> tuple[Params, EncoderConfig, Tokenizer, Sources]:
    """The same model and its tokenizer with `new_tokens` after those they know, and the sources.

    A new row is the mean of the rows of the pieces that the old tokenizer made of the token, or,
    where the mapping `init` names another token for it, that one's. Likewise the masked LM's bias
    and untied decoder. The old tokens' rows stay bit for bit, all other leaves are shared. Raises
    UserError for tokens that are blank, repeated or known already.
    """
    tokenizer, sources = extension(config, old_tokenizer, new_tokens, init)
    return *take_rows(params, config, sources), tokenizer, sources


def replace_tokenizer(
    params: Params, config: EncoderConfig, old_tokenizer: Tokenizer, new_tokenizer: Tokenizer
) -> tuple[Params, EncoderConfig, Sources]:
    """The same model for another tokenizer, and its sources; see `replacement`.

    `pad_token_id` becomes the new tokenizer's, and RoBERTa's positions go on counting after it.
    """
    sources = replacement(config, old_tokenizer, new_tokenizer)
    if config.token_dropout:
        rows = max(config.vocab_size, len(sources))
        config = replace(config, vocab_size=rows, mask_token_id=new_tokenizer.mask_id)
    params, config = take_rows(params, config, sources)
    return *move_padding(params, config, new_tokenizer.pad_id), sources


def extension(
    config: EncoderConfig,
    old_tokenizer: Tokenizer,
    new_tokens: Sequence[str],
    init: Init = "mean_of_pieces",
) -> tuple[Tokenizer, Sources]:
    """The extended tokenizer, and what each row of its vocabulary starts from."""
    _check_covered(config, old_tokenizer)
    tokenizer = add_tokens(old_tokenizer, new_tokens)
    named = {} if isinstance(init, str) else init
    for token in named:
        if token not in new_tokens:
            raise UserError(f"init gives {token!r} a row, which is none of the new tokens")
    # A model may have more rows than its tokenizer has tokens: new ones take these first.
    rows = max(config.vocab_size, tokenizer.vocab_size)
    sources: list[tuple[int, ...]]
    sources = [(row,) if row < config.vocab_size else () for row in range(rows)]
    for place, token in enumerate(new_tokens):
        start = _start(old_tokenizer, token, named[token]) if token in named else None
        pieces = pieces_of(old_tokenizer, token) if start is None else [start]
        sources[old_tokenizer.vocab_size + place] = tuple(pieces)
    return tokenizer, sources


def replacement(config: EncoderConfig, old: Tokenizer, new: Tokenizer) -> Sources:
    """What each row of the new vocabulary starts from.

    A token of both has its own row: the same text, and both begin or both continue a word. So has
    a special token, by its role. Any other has the mean of the pieces that the old tokenizer makes
    of its text, and what the old one cannot spell the row of its unknown token, or zeros where it
    has none.
    """
    _check_covered(config, old)
    old_tokens, new_tokens = old.vocab(), new.vocab()
    old_surfaces, new_surfaces = surfaces(old), surfaces(new)
    # The spelling decides where several tokens stand for one text, as "Ġa" and "Ċa" do.
    exact = {key: row for row, key in enumerate(zip(old_tokens, old_surfaces, strict=True))}
    alike = {surface: row for row, surface in reversed([*enumerate(old_surfaces)]) if surface.text}
    spelt = old.encode_plain(
        [surface.text if surface.continues_word else f" {surface.text}" for surface in new_surfaces]
    )
    sources: list[tuple[int, ...]] = []
    for token, surface, pieces in zip(new_tokens, new_surfaces, spelt, strict=True):
        row = exact.get((token, surface), alike.get(surface))
        if row is not None:
            pieces = [row]
        elif not (surface.text and pieces):
            pieces = [] if old.unk_id is None else [old.unk_id]
        sources.append(tuple(pieces) if token else ())
    for role in BERT_TOKENS:
        theirs, ours = (t.token_id(role) for t in (new, old))
        if theirs is not None and ours is not None:
            sources[theirs] = (ours,)
    return sources


def take_rows(
    params: Params, config: EncoderConfig, sources: Sources
) -> tuple[Params, EncoderConfig]:
    """The same model with a vocabulary whose rows are means of its own."""
    taken = replace(config, vocab_size=len(sources))

    def take(path: str, leaf: Any) -> Any:
        if path not in TABLES:
            return leaf
        return _means(np.asarray(leaf), sources, taken.padded_vocab_size)

    return map_with_path(take, params), taken


def _means(table: np.ndarray, sources: Sources, padded: int) -> np.ndarray:
    """[padded, ...] of [old rows, ...]; means in float64, rounded once."""
    rows = np.zeros((padded, *table.shape[1:]), table.dtype)
    single = [row for row, source in enumerate(sources) if len(source) == 1]
    rows[single] = table[[sources[row][0] for row in single]]
    for row, source in enumerate(sources):
        if len(source) > 1:
            rows[row] = table[list(source)].mean(axis=0, dtype=np.float64)
    return rows


def _start(tokenizer: Tokenizer, token: str, known: str) -> int:
    row = tokenizer.backend.token_to_id(known)
    if row is None:
        raise UserError(
            f"{token!r} is to start as {known!r}, which is no token of the old tokenizer: name one "
            "that it has"
        )
    return row


def _check_covered(config: EncoderConfig, tokenizer: Tokenizer) -> None:
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"the old tokenizer has {tokenizer.vocab_size} tokens and the model "
            f"vocab_size={config.vocab_size}: take the tokenizer that the model was trained with"
        )
