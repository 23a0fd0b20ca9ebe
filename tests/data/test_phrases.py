import numpy as np
import pytest
from corpora import mask_rows

from jaxbert.data import phrases as module
from jaxbert.data.mask_units import word_starts
from jaxbert.data.masking_config import MaskingConfig, PhraseUnits
from jaxbert.data.phrases import Phrases
from jaxbert.data.vocabulary import Vocabulary
from jaxbert.errors import UserError
from jaxbert.text.training import train_byte_level_bpe, train_wordpiece

TEXTS = [
    "the new york times is read in new york",
    "a new times square, new york city",
    "the old newyork of the times",
] * 3
PHRASES = "new york\nNew York Times\n\n  new york city  \nyork city\ntimes\n"


def inside_one_by_one(phrases, row, maskable, is_start):
    """The tokens of phrases but their first ones, from the longest phrase and the left."""
    covered, inside = set(), set()
    for length in sorted({len(phrase) for phrase in phrases if len(phrase) > 1}, reverse=True):
        for at in range(len(row) - length + 1):
            window = range(at, at + length)
            behind = at + length
            ends = behind == len(row) or not maskable[behind] or is_start[behind]
            is_found = (
                tuple(row[at:behind].tolist()) in phrases
                and all(maskable[at:behind])
                and is_start[at]
                and ends
                and not covered & set(window)
            )
            if is_found:
                covered |= set(window)
                inside |= set(window[1:])
    return inside


def check_against_the_plain_search(num_ids, seed):
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, num_ids, (60, 50)).astype(np.int32)
    maskable = generator.random(ids.shape) < 0.9
    is_start = word_starts(maskable, generator.random(ids.shape) < 0.3)
    lengths = [1, 2, 2, 3, 3, 3, 5, 8]
    phrases = {tuple(generator.integers(0, num_ids, n).tolist()) for n in lengths * 3}
    found = Phrases(phrases).inside(ids, maskable, is_start)
    for row in range(len(ids)):
        expected = inside_one_by_one(phrases, ids[row], maskable[row], is_start[row])
        assert set(np.flatnonzero(found[row]).tolist()) == expected
    return int(found.sum())


@pytest.mark.parametrize("num_ids", [1, 2, 3])
def test_phrases_are_those_of_a_plain_search(num_ids):
    assert check_against_the_plain_search(num_ids, seed=num_ids) > 100


def test_equal_hashes_find_nothing_that_is_not_there(monkeypatch):
    monkeypatch.setattr(module, "_mixed", lambda ids: np.zeros(ids.shape, np.uint64))
    ids = np.array([[7, 8, 7, 9, 8, 7, 8]], np.int32)
    marks = np.ones(ids.shape, dtype=bool)
    found = Phrases([[7, 8], [8, 7, 9]]).inside(ids, marks, marks)
    assert found.tolist() == [[False, False, True, True, False, False, True]]


def test_no_phrase_reaches_from_one_row_into_the_next():
    ids = np.array([[5, 7], [8, 7], [8, 5]], np.int32)
    marks = np.ones(ids.shape, dtype=bool)
    assert not Phrases([[7, 8], [7, 8, 7]]).inside(ids, marks, marks).any()
    assert not Phrases([[7, 8]]).inside(ids[:0], marks[:0], marks[:0]).any()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "phrases.txt"
    path.write_text(PHRASES, encoding="utf-8")
    return path


@pytest.mark.parametrize("train", [train_wordpiece, train_byte_level_bpe])
def test_the_phrases_of_a_file_are_masked_whole_wherever_they_stand(file, train):
    tokenizer = train(TEXTS, 320 if train is train_byte_level_bpe else 60)
    vocabulary = Vocabulary.of(tokenizer)
    phrases = Phrases.read(file, tokenizer)
    texts = ["new york city and a new york", "in new york", "newyork", "the times of new yorks"]
    ids = tokenizer.encode(texts, max_length=48, padding="max_length")["input_ids"]
    lengths = (ids != tokenizer.pad_id).sum(axis=1)
    words = {text: tokenizer.encode_plain([text])[0] for text in ("new york city", " new york")}
    first_row = ids[0].tolist()
    city = range(1, 1 + len(words["new york city"]))
    assert first_row[1 : city.stop] == words["new york city"]
    last = range(lengths[0] - 1 - len(words[" new york"]), lengths[0] - 1)
    seen = set()
    for seed in range(40):
        masked = mask_rows(
            ids,
            lengths,
            vocabulary,
            np.zeros(4, np.int64),
            np.arange(4),
            seed=seed,
            config=MaskingConfig(probability=0.6, units=PhraseUnits(file=str(file))),
            phrases=phrases,
        )
        chosen = set(masked.positions[0][masked.labels[0] != -100].tolist())
        for phrase in (city, last):
            assert chosen >= set(phrase) or not chosen & set(phrase)
            seen.add((phrase, chosen >= set(phrase)))
    assert len(seen) == 4
    is_start = word_starts(
        (ids != tokenizer.pad_id) & ~vocabulary.is_special[ids], vocabulary.is_continuation[ids]
    )
    inside = phrases.inside(ids, ~vocabulary.is_special[ids], is_start)
    # One word that is spelt like a phrase is none, nor is the beginning of a longer word.
    assert inside.any(axis=1).tolist() == [True, True, False, False]


def test_a_byte_order_mark_is_no_part_of_the_first_phrase(file):
    tokenizer = train_byte_level_bpe(TEXTS, 320)
    plain = Phrases.read(file, tokenizer)
    file.write_text("\ufeff" + PHRASES, encoding="utf-8")
    marked = Phrases.read(file, tokenizer)
    ids = tokenizer.encode(["new york city and a new york"])["input_ids"]
    maskable = ~Vocabulary.of(tokenizer).is_special[ids]
    is_start = word_starts(maskable, Vocabulary.of(tokenizer).is_continuation[ids])
    expected = plain.inside(ids, maskable, is_start)
    assert expected.any()
    assert (marked.inside(ids, maskable, is_start) == expected).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file of phrases"),
        (b"\n \n", "no phrases in it: give one a line"),
        (b"new \xff york", "not UTF-8 text at byte 4"),
        (b"new york\n" + b"the times " * 40, "line 2: a phrase of .* tokens, at most 32"),
        (b"new\xe2\x80\xa8york\x0c\r\n" + b"the times " * 40, "line 2: a phrase of .* tokens"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused(tmp_path, content, message):
    path = tmp_path / "phrases.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        Phrases.read(path, train_wordpiece(TEXTS, 60))


def test_a_phrase_with_an_unknown_character_is_never_found(tmp_path):
    tokenizer = train_wordpiece(TEXTS, 60)
    (tmp_path / "phrases.txt").write_text("new \u4f60\nnew york\nnew york\n", encoding="utf-8")
    phrases = Phrases.read(tmp_path / "phrases.txt", tokenizer)
    ids = tokenizer.encode(["new \u4f60 of new york"])["input_ids"]
    maskable = ~Vocabulary.of(tokenizer).is_special[ids]
    is_start = word_starts(maskable, Vocabulary.of(tokenizer).is_continuation[ids])
    inside = np.flatnonzero(phrases.inside(ids, maskable, is_start)[0])
    assert len(phrases) == 2
    assert len(inside)
    assert inside.min() > np.flatnonzero(ids[0] == tokenizer.unk_id)[0]
