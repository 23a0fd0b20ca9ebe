from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from small_models import ALBERT, BERT, ROBERTA, random_params, run

from jaxbert.adapt.vocabulary import (
    extend_vocabulary,
    extension,
    replace_tokenizer,
    replacement,
    take_rows,
)
from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import check_params
from jaxbert.nn.head import Head
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import residue_tokenizer, train_byte_level_bpe, train_wordpiece
from jaxbert.tree import flat

WORD, BIAS, DECODER = "encoder/embeddings/word/embedding", "masked_lm/bias", "masked_lm/decoder"
TEXTS = ["the small dog saw the other small dog run", "a cat runs, the dog ran"] * 3
OLD = train_wordpiece(TEXTS, 60)
NEW = ["catdog", "doggo", "Ω"]


def sized(config: EncoderConfig, tokenizer: Tokenizer = OLD) -> EncoderConfig:
    return replace(config, vocab_size=tokenizer.vocab_size, num_hidden_layers=1)


def row(table: np.ndarray, tokenizer: Tokenizer, token: str) -> np.ndarray:
    return table[tokenizer.backend.token_to_id(token)]


def test_a_row_is_the_mean_of_its_sources_literally():
    tree = {"encoder": {"embeddings": {"word": {"embedding": np.zeros((128, 2), np.float32)}}}}
    tree["masked_lm"] = {"bias": np.zeros(128, np.float32)}
    table = tree["encoder"]["embeddings"]["word"]["embedding"]
    table[:3] = [[1, 10], [2, 20], [6, 60]]
    tree["masked_lm"]["bias"][:3] = [0.5, 1.5, 2.5]
    config = EncoderConfig(vocab_size=3, hidden_size=2, num_attention_heads=1)
    taken, new = take_rows(tree, config, [(2,), (0, 1), (), (0, 1, 2)])
    assert (new.vocab_size, new.padded_vocab_size) == (4, 128)
    expected = [[6, 60], [1.5, 15], [0, 0], [3, 30]]
    np.testing.assert_array_equal(flat(taken)[WORD][:4], expected)
    np.testing.assert_array_equal(flat(taken)[BIAS][:4], [2.5, 1.0, 0.0, 1.5])
    assert not flat(taken)[WORD][4:].any()


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(BERT, id="bert"),
        pytest.param(ALBERT, id="factorised"),
        pytest.param(replace(BERT, tie_word_embeddings=False), id="untied"),
    ],
)
def test_new_tokens_start_as_the_mean_of_their_pieces(config: EncoderConfig):
    config = sized(config)
    params = random_params(config)
    longer, new, tokenizer, _ = extend_vocabulary(params, config, OLD, NEW)
    check_params(longer, new, Head("masked_lm"))
    assert new.vocab_size == config.vocab_size + 3 == tokenizer.vocab_size
    old_leaves, leaves = flat(params), flat(longer)
    tables = [path for path in (WORD, BIAS, DECODER) if path in leaves]
    assert len(tables) == 2 + (not config.tie_word_embeddings)
    for path in tables:
        before, after = old_leaves[path], leaves[path]
        np.testing.assert_array_equal(after[: config.vocab_size], before[: config.vocab_size])
        for token in NEW:
            pieces = OLD.encode_plain([token])[0]
            expected = before[pieces].astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(row(after, tokenizer, token), expected, rtol=1e-6)
        assert not after[new.vocab_size :].any()
    others = [path for path in leaves if path not in tables]
    assert all(leaves[path] is old_leaves[path] for path in others)


def test_a_token_that_the_old_tokenizer_cannot_spell_starts_as_unknown():
    config = sized(BERT)
    params = random_params(config)
    longer, _, tokenizer, _ = extend_vocabulary(params, config, OLD, NEW)
    table = flat(longer)[WORD]
    np.testing.assert_array_equal(row(table, tokenizer, "Ω"), table[OLD.unk_id])


def test_a_new_token_may_start_as_another():
    config = sized(BERT)
    params = random_params(config)
    longer, _, tokenizer, _ = extend_vocabulary(params, config, OLD, NEW, {"catdog": "dog"})
    table = flat(longer)[WORD]
    np.testing.assert_array_equal(row(table, tokenizer, "catdog"), row(table, OLD, "dog"))
    pieces = OLD.encode_plain(["doggo"])[0]
    np.testing.assert_allclose(
        row(table, tokenizer, "doggo"), table[pieces].mean(axis=0), rtol=1e-5
    )


def test_the_stored_table_grows_by_whole_multiples_of_128():
    config = sized(BERT)
    params = random_params(config)
    many = [f"new{i}" for i in range(100)]
    longer, new, _, _ = extend_vocabulary(params, config, OLD, many)
    assert config.padded_vocab_size == 128
    assert flat(longer)[WORD].shape == (new.padded_vocab_size, 24) == (256, 24)
    assert flat(longer)[BIAS].shape == (256,)


def test_rows_that_no_token_uses_are_taken_first():
    config = replace(sized(BERT), vocab_size=OLD.vocab_size + 2)
    params = random_params(config)
    longer, new, _, _ = extend_vocabulary(params, config, OLD, NEW)
    assert new.vocab_size == OLD.vocab_size + 3
    before, after = flat(params)[WORD], flat(longer)[WORD]
    np.testing.assert_array_equal(after[: OLD.vocab_size], before[: OLD.vocab_size])
    one, _, _, _ = extend_vocabulary(params, config, OLD, NEW[:1])
    np.testing.assert_array_equal(flat(one)[WORD][OLD.vocab_size + 1], before[OLD.vocab_size + 1])


def test_old_text_gives_the_same_logits_for_the_old_tokens():
    config = sized(BERT)
    params = random_params(config)
    longer, new, tokenizer, _ = extend_vocabulary(params, config, OLD, NEW)
    ids = OLD.encode(TEXTS[:2])["input_ids"]
    np.testing.assert_array_equal(tokenizer.encode(TEXTS[:2])["input_ids"], ids)
    expected, found = run(params, config, ids).logits, run(longer, new, ids).logits
    assert found.shape[-1] == expected.shape[-1] + 3
    np.testing.assert_array_equal(found[..., : config.vocab_size], expected)


@pytest.mark.parametrize(
    ("tokens", "init", "message"),
    [
        (["dog"], "mean_of_pieces", "'dog' is a token already"),
        (["catdog", "catdog"], "mean_of_pieces", "'catdog' is given twice"),
        ([" "], "mean_of_pieces", "' ' holds no text"),
        (NEW, {"catdgo": "dog"}, "init gives 'catdgo' a row, which is none of the new tokens"),
        (NEW, {"catdog": "dgo"}, "'catdog' is to start as 'dgo', which is no token of the old"),
    ],
)
def test_wrong_tokens_are_one_line(tokens: list[str], init: Any, message: str):
    with pytest.raises(UserError, match=message):
        extension(sized(BERT), OLD, tokens, init)


def test_a_tokenizer_beyond_the_model_is_refused():
    config = replace(sized(BERT), vocab_size=20)
    for call in (
        lambda: extend_vocabulary({}, config, OLD, NEW),
        lambda: replace_tokenizer({}, config, OLD, OLD),
    ):
        with pytest.raises(UserError, match=r"the old tokenizer has \d+ tokens and the model"):
            call()


OTHER = train_wordpiece(["the dog and the doghouse, a house"] * 3, 60)


def test_tokens_of_both_tokenizers_keep_their_rows():
    config = sized(BERT)
    params = random_params(config)
    replaced, new, _ = replace_tokenizer(params, config, OLD, OTHER)
    check_params(replaced, new, Head("masked_lm"))
    assert new.vocab_size == OTHER.vocab_size
    old, table = flat(params), flat(replaced)
    common = set(OLD.vocab()) & set(OTHER.vocab())
    assert {"[CLS]", "the", "dog", "##o"} <= common
    for token in common:
        for path in (WORD, BIAS):
            np.testing.assert_array_equal(
                row(table[path], OTHER, token), row(old[path], OLD, token)
            )


def test_masks_that_are_dropped_from_the_input_are_the_new_tokenizers():
    narrow = replace(preset("esm2_t6_8M"), hidden_size=16, num_attention_heads=2)
    config = sized(narrow, residue_tokenizer())
    params = random_params(config)
    for other in (OTHER, OLD):
        _, new, _ = replace_tokenizer(params, config, residue_tokenizer(), other)
        found = (new.vocab_size, new.mask_token_id, new.pad_token_id)
        assert found == (other.vocab_size, other.mask_id, other.pad_id)


def test_other_tokens_start_as_the_mean_of_the_pieces_of_their_text():
    config = sized(BERT)
    params = random_params(config)
    replaced, _, _ = replace_tokenizer(params, config, OLD, OTHER)
    before, after = flat(params)[WORD], flat(replaced)[WORD]
    others = set(OTHER.vocab()) - set(OLD.vocab())
    assert "house" in others
    for token in others:
        pieces = OLD.encode_plain([token.removeprefix("##")])[0]
        np.testing.assert_allclose(
            row(after, OTHER, token), before[pieces].astype(np.float64).mean(axis=0), rtol=1e-5
        )


def test_a_tokenizer_replaced_by_itself_changes_nothing():
    config = sized(BERT)
    params = random_params(config)
    same, new, _ = replace_tokenizer(params, config, OLD, OLD)
    assert new == config
    jax.tree.map(np.testing.assert_array_equal, same, params)


def test_pieces_of_another_kind_of_tokenizer_are_matched_by_what_they_stand_for():
    new = train_byte_level_bpe(TEXTS, 300)
    sources, old = replacement(sized(BERT), OLD, new), OLD.backend.token_to_id
    assert len(sources) == new.vocab_size
    found = {token: sources[new.backend.token_to_id(token)] for token in ("Ġdog", "Ġthe")}
    assert found == {"Ġdog": (old("dog"),), "Ġthe": (old("the"),)}
    # Without its space it continues a word, as ##o does.
    assert sources[new.backend.token_to_id("o")] == (old("##o"),)
    roles = {new.cls_id: OLD.cls_id, new.sep_id: OLD.sep_id, new.mask_id: OLD.mask_id}
    roles |= {new.pad_id: OLD.pad_id, new.unk_id: OLD.unk_id}
    assert {ours: sources[ours] for ours in roles} == {a: (b,) for a, b in roles.items()}
    # A lone byte of a character that the old tokenizer has no word for.
    assert sources[new.backend.token_to_id("Î")] == (OLD.unk_id,)


def test_positions_that_count_from_padding_follow_it():
    old = train_byte_level_bpe(TEXTS, 300)
    config = replace(sized(ROBERTA, old), pad_token_id=old.pad_id)
    assert (old.pad_id, OLD.pad_id) == (1, 0)
    params = random_params(config)
    replaced, new, _ = replace_tokenizer(params, config, old, OLD)
    assert (new.pad_token_id, new.max_position_embeddings) == (0, 19)
    check_params(replaced, new, Head("masked_lm"))
    path = "encoder/embeddings/position/embedding"
    np.testing.assert_array_equal(flat(replaced)[path], flat(params)[path][1:])
    back, again, _ = replace_tokenizer(replaced, new, OLD, old)
    assert again == config
    np.testing.assert_array_equal(flat(back)[path][1:], flat(params)[path][1:])
