"""The figures of a tokenizer over a corpus, against the same counted one by one."""

import json
import random
import unicodedata
from collections import Counter

import numpy as np
import pytest
from strings import LATIN, random_strings
from tokenizers import normalizers, pre_tokenizers

from jaxbert.errors import UserError
from jaxbert.text.inspection.lengths import length_figures, model_limit, percentile
from jaxbert.text.inspection.retrained import compare, train_alike
from jaxbert.text.inspection.sample import Sample
from jaxbert.text.inspection.tally import Tally
from jaxbert.text.inspection.words import word_finder
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer, save_tokenizer
from jaxbert.text.training import train_byte_level_bpe, train_unigram, train_wordpiece

KINDS = ("wordpiece", "cased wordpiece", "byte-level", "unigram", "sentencepiece")


def without_controls(text: str) -> str:
    """BERT's first step deletes control characters and U+FFFD; counting words does not."""
    return "".join(
        c for c in text if c in "\t\n" or not (c == "\ufffd" or unicodedata.category(c)[0] == "C")
    )


CORPUS = ["", " ", "\n\t ", *map(without_controls, random_strings(300, seed=7))]


@pytest.fixture(scope="module", params=KINDS)
def any_tokenizer(request, texts, tmp_path_factory) -> Tokenizer:
    if request.param == "sentencepiece":
        directory = tmp_path_factory.mktemp("tokenizer")
        models = request.getfixturevalue("sentencepiece_models")
        (directory / "spiece.model").write_bytes(models["albert"].read_bytes())
        return load_tokenizer(directory)
    return {
        "wordpiece": lambda: train_wordpiece(texts, 1200),
        "cased wordpiece": lambda: train_wordpiece(texts, 1200, lowercase=False),
        "byte-level": lambda: train_byte_level_bpe(texts, 500),
        "unigram": lambda: train_unigram(texts, 600),
    }[request.param]()


def figures(tokenizer: Tokenizer, texts: list[str], **options):
    tally = Tally(tokenizer)
    for start in range(0, len(texts), 37):
        tally.add(texts[start : start + 37])
    return tally.figures(**options)


def basic_words(text: str) -> list[str]:
    """BERT's own first step, from the library, without what is punctuation."""
    normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    parts = pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normalizer.normalize_str(text))
    found = pre_tokenizers.Punctuation().pre_tokenize_str
    marks = {word for word, _ in parts if len(word) == 1 and len(found("a" + word)) == 2}
    return [word for word, _ in parts if word not in marks]


def test_words_are_those_of_basic_tokenization():
    assert sum(map(len, map(basic_words, CORPUS))) > 900
    for text in CORPUS:
        assert word_finder()(text) == basic_words(text)


def test_counts_are_those_of_every_text_and_word_encoded_alone(any_tokenizer):
    tokenizer, found = any_tokenizer, figures(any_tokenizer, CORPUS)
    rows = tokenizer.encode_plain(CORPUS)
    unknown = sum(row.count(tokenizer.unk_id) for row in rows)
    assert found.rows == len(CORPUS)
    assert found.characters == sum(map(len, CORPUS))
    assert found.tokens == sum(map(len, rows))
    assert found.characters_per_token == found.characters / found.tokens
    assert (found.unknown_tokens, found.unknown_token_rate) == (unknown, unknown / found.tokens)
    used = {token for row in rows for token in row}
    entries = set(range(tokenizer.vocab_size)) - tokenizer.special_ids
    assert (found.entries, found.entries_never_used) == (len(entries), len(entries - used))

    words = [word for text in CORPUS for word in basic_words(text)]
    pieces = [tokenizer.encode_plain([" " + word])[0] for word in words]
    known = [row for row in pieces if tokenizer.unk_id not in row]
    counted = found.words
    assert (counted.words, counted.unknown) == (len(words), len(words) - len(known))
    assert counted.mean_pieces == pytest.approx(np.mean([len(row) for row in known]))
    assert counted.kept_whole == sum(len(row) == 1 for row in known) / len(words)
    shares = Counter("5+" if len(row) > 4 else str(max(len(row), 1)) for row in known)
    shares["unknown"] = len(words) - len(known)
    expected = {name: shares[name] / len(words) for name in ("1", "2", "3", "4", "5+", "unknown")}
    assert counted.distribution == pytest.approx(expected)


def test_pieces_of_words_and_punctuation_add_up_to_the_tokens_of_wordpiece(tokenizer):
    found = figures(tokenizer, CORPUS, shown=10**6)
    words = found.words
    marks = sum(len(tokenizer.encode_plain([c])[0]) for t in CORPUS for c in t if is_mark(c))
    extra = sum(split.extra_tokens for split in words.most_split)
    vanished = sum(
        not tokenizer.encode_plain([word])[0] for text in CORPUS for word in basic_words(text)
    )
    assert found.tokens == words.words - vanished + extra + marks


def is_mark(character: str) -> bool:
    is_ascii_mark = character.isascii() and not character.isalnum() and not character.isspace()
    return is_ascii_mark or unicodedata.category(character).startswith("P")


def test_a_byte_level_tokenizer_knows_every_text(texts):
    found = figures(train_byte_level_bpe(texts, 500), CORPUS)
    assert found.unknown_tokens == found.words.unknown == 0
    assert found.unknown_characters == found.words.most_unknown == ()


def test_the_lists_show_the_costliest_words_first():
    tokenizer = train_wordpiece(["a b c d e low lower"] * 20, 60)
    found = figures(tokenizer, ["LOW low edcba, edcba", "中 中 x lowbow low😀 😀 中"])
    split = [(s.word, s.count, s.pieces, s.extra_tokens) for s in found.words.most_split]
    assert split == [
        ("edcba", 2, ("e", "##d", "##c", "##b", "##a"), 8),
        ("lowbow", 1, ("low", "##b", "##o", "##w"), 3),
    ]
    assert found.words.most_unknown == (("中", 3), ("low😀", 1), ("x", 1), ("😀", 1))
    assert found.unknown_characters == (("中", 3), ("😀", 2), (",", 1), ("x", 1))
    # low (twice, in two cases) alone is one piece.
    assert (found.words.types, found.words.types_kept_whole) == (7, 1 / 7)
    assert found.words.kept_whole == 2 / 11 * 11 / found.words.words


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_one_row_without_words_has_figures_of_nothing(any_tokenizer, text):
    found = figures(any_tokenizer, [text])
    assert (found.rows, found.words.words, found.words.types) == (1, 0, 0)
    assert found.words.mean_pieces is found.words.kept_whole is found.words.unknown_rate is None
    assert found.lengths.percentiles[100] == found.tokens + any_tokenizer.num_special_tokens()
    json.dumps(found.words.distribution, allow_nan=False)


def test_inspecting_no_rows_is_refused(any_tokenizer):
    with pytest.raises(UserError, match="no rows"):
        Tally(any_tokenizer).figures()


@pytest.mark.parametrize("paired", [False, True])
def test_lengths_are_those_of_the_rows_that_a_model_sees(any_tokenizer, paired):
    seconds = CORPUS[::-1] if paired else None
    tally = Tally(any_tokenizer, pairs=paired)
    # Spelled-out special tokens are text here, and special to `encode`.
    keep = [i for i, text in enumerate(CORPUS) if "<" not in text + CORPUS[-1 - i]]
    keep = [i for i in keep if "[" not in CORPUS[i] + CORPUS[-1 - i]]
    texts = [CORPUS[i] for i in keep]
    pairs = [seconds[i] for i in keep] if seconds else None
    tally.add(texts, pairs)
    rows = any_tokenizer.encode(texts, pairs, padding=False)["input_ids"]
    lengths = np.array([len(row) for row in rows])
    found = tally.figures().lengths
    assert found.mean == pytest.approx(lengths.mean())
    for q, length in found.percentiles.items():
        assert length == np.percentile(lengths, q, method="inverted_cdf")
    for limit, share in found.truncated.items():
        assert share == (lengths > limit).mean()
    assert tally.lengths == Counter(lengths.tolist())


def test_percentiles_are_lengths_that_occur():
    counts = {10: 94, 90: 1, 91: 4, 1000: 1}
    assert [percentile(counts, q) for q in (1, 50, 94, 95, 99, 100)] == [10, 10, 10, 90, 91, 1000]
    assert percentile({7: 1}, 50) == 7


def test_the_recommended_length_covers_95_percent_and_fits_the_model():
    counts = {10: 94, 90: 1, 200: 5}
    free = length_figures(counts, 2, None)
    assert (free.recommended, free.next_usual, free.is_capped) == (96, 128, False)
    assert free.truncated_at_recommended == 0.05
    capped = length_figures(counts, 2, 64)
    assert (capped.recommended, capped.next_usual, capped.is_capped) == (64, 64, True)
    assert capped.truncated_at_recommended == 0.06
    rounding = length_figures(counts, 2, 93)
    assert (rounding.recommended, rounding.is_capped) == (93, True)
    assert rounding.truncated_at_recommended == free.truncated_at_recommended
    assert not length_figures(counts, 2, 96).is_capped


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": None}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514}, 512),
        ({"model_type": "esm", "max_position_embeddings": 1026}, 1024),
        (
            {
                "model_type": "esm",
                "max_position_embeddings": 1026,
                "position_embedding_type": "rotary",
            },
            1026,
        ),
        ({"max_position_embeddings": -1}, None),
        ({}, None),
    ],
)
def test_the_limit_of_a_model_is_read_off_its_configuration(tokenizer, tmp_path, fields, limit):
    model = tmp_path / "model"
    save_tokenizer(tokenizer, model)
    (model / "config.json").write_text(json.dumps(fields))
    # A run has both in its model, and a file may be named itself.
    for place in (model, tmp_path, model / "vocab.txt"):
        assert model_limit(place, tokenizer) == limit
    limited = Tokenizer(tokenizer.backend, {**tokenizer.config, "model_max_length": 100})
    assert model_limit(model, limited) == 100


def test_a_sample_of_enough_room_is_the_whole_corpus():
    sample = sampled([str(i) for i in range(1000)], 10_000)
    assert sample.is_whole
    assert sorted(map(int, sample.training + sample.held_out)) == list(range(1000))
    assert 60 < len(sample.held_out) < 140


def test_a_sample_is_bounded_and_takes_from_all_over_the_corpus():
    sample = sampled([f"{i:05}" for i in range(20_000)], 5 * 2000)
    assert not sample.is_whole
    kept = sorted(map(int, sample.training + sample.held_out))
    assert 5 * len(kept) == sample.size <= 5 * 2000
    # By chance each quarter has 400 of 1,600 or so, give or take 20.
    quarters = np.bincount(np.array(kept) // 5000, minlength=4)
    assert abs(quarters - len(kept) / 4).max() < 100
    assert sampled([f"{i:05}" for i in range(20_000)], 5 * 2000).held_out == sample.held_out


def sampled(documents: list[str], max_characters: int) -> Sample:
    sample = Sample(max_characters)
    for document in documents:
        sample.add(document)
    return sample


def sentences(words: list[str], count: int) -> list[str]:
    rng = random.Random(3)
    return [" ".join(rng.choices(words, k=9)) for _ in range(count)]


STEMS = ["nephro", "cardio", "hepato", "gastro", "neuro", "osteo", "dermato", "broncho"]
MEDICAL = [
    stem + ending for stem in STEMS for ending in ["toxicity", "pathies", "logical", "genesis"]
]


def test_a_new_vocabulary_pays_where_the_words_are_others(any_tokenizer):
    sample = sampled(sentences(MEDICAL, 300), 10**6)
    found = compare(any_tokenizer, sample)
    new = train_alike(any_tokenizer, sample.training)
    current, renewed = (
        sum(map(len, t.encode_plain(sample.held_out))) for t in (any_tokenizer, new)
    )
    assert (found.current_tokens, found.new_tokens) == (current, renewed)
    assert found.saving == 1 - renewed / current > 0.2
    assert found.pays
    assert found.held_out_documents == len(sample.held_out)
    assert found.training_characters + found.held_out_characters == sample.size
    assert type(new.backend.model) is type(any_tokenizer.backend.model)
    assert found.vocab_size <= any_tokenizer.vocab_size


def test_a_new_vocabulary_does_not_pay_where_the_old_one_was_learnt():
    corpus = sentences(LATIN.split(), 300)
    found = compare(train_wordpiece(corpus, 200), sampled(corpus, 10**6))
    assert abs(found.saving) < 0.02
    assert not found.pays


def test_a_new_vocabulary_pays_where_words_are_unknown_however_few_tokens_they_make():
    found = compare(train_wordpiece(sentences(LATIN.split(), 50), 100), sampled(GREEK, 10**6))
    assert found.current_unknown_rate == 1.0
    assert found.new_unknown_rate == 0.0
    assert found.saving <= 0
    assert found.pays


GREEK = sentences(["μῆνιν", "ἄειδε", "θεὰ", "Πηληϊάδεω", "Ἀχιλῆος"], 300)


def test_a_comparison_needs_documents_to_judge_by(tokenizer):
    with pytest.raises(UserError, match=r"^\d documents to judge by.*give more documents$"):
        compare(tokenizer, sampled(sentences(MEDICAL, 30), 10**6))


def test_a_tokenizer_without_unknown_token_is_inspected(eurobert_tokenizer):
    found = figures(eurobert_tokenizer, CORPUS)
    assert (found.unknown_tokens, found.words.unknown, found.unknown_characters) == (0, 0, ())
    assert found.entries == eurobert_tokenizer.vocab_size - 4
