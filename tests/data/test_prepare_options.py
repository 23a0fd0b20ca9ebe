"""What may be asked of preparing: vocabularies, limits, and what is refused."""

import json
import random
from dataclasses import replace
from itertools import chain

import pytest
from articles import WORDS

from jaxbert.cli import prepare as verb
from jaxbert.data import vocabulary_training
from jaxbert.data.merge import merge
from jaxbert.data.parts import Part
from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.data.store import TokenStore
from jaxbert.errors import UserError
from jaxbert.text.sentences import split_sentences
from jaxbert.text.tokenizer import load_tokenizer
from jaxbert.text.training import FAMILIES


def test_a_trained_vocabulary_is_saved_with_the_store(tmp_path, corpus):
    prepare([str(corpus)], tmp_path / "s", PrepareOptions(vocab_size=100, processes=1))
    store = TokenStore.open(tmp_path / "s")
    tokenizer = load_tokenizer(store.tokenizer_directory)
    assert store.vocab_size == tokenizer.vocab_size <= 100
    text = json.loads(corpus.read_text().split("\n")[0])["text"]
    sentences = tokenizer.encode_plain(split_sentences(text))
    assert [sentence.tolist() for sentence in store.document(0)] == sentences


@pytest.mark.parametrize(
    ("kind", "family", "name"),
    [
        (None, "bert", "BertTokenizer"),
        (None, "mpnet", "MPNetTokenizer"),
        ("byte_level_bpe", "roberta", "RobertaTokenizer"),
        (None, "modernbert", "PreTrainedTokenizerFast"),
        (None, "deberta", "PreTrainedTokenizerFast"),
        ("unigram", None, "AlbertTokenizer"),
        (None, "deberta-v2", "DebertaV2Tokenizer"),
        ("unigram", "xlm-roberta", "XLMRobertaTokenizer"),
    ],
)
def test_tokenizers_of_all_families_are_trained(tmp_path, kind, family, name):
    (tmp_path / "a.txt").write_text("\n\n".join([" ".join(WORDS)] * 9 + ["\u0007"]))
    options = PrepareOptions(
        vocab_size=300, tokenizer_kind=kind, tokenizer_family=family, processes=1
    )
    summary = prepare([str(tmp_path / "a.txt")], tmp_path / "s", options)
    assert load_tokenizer(tmp_path / "s").config["tokenizer_class"] == name
    # The others keep the control character that BERT's cleaning of text drops.
    is_kept = name not in ("BertTokenizer", "MPNetTokenizer")
    assert (summary.documents, summary.unknown) == (9 + is_kept, 0)


def test_the_choices_of_the_verb_are_what_can_be_trained():
    import argparse

    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    choices = {action.dest: action.choices for action in parser._actions}
    assert choices["tokenizer_kind"] == tuple(FAMILIES)
    assert choices["tokenizer_family"] == tuple(chain.from_iterable(FAMILIES.values()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "neither of --tokenizer and --vocab-size given"),
        ({"tokenizer": "x", "vocab_size": 9}, "both of --tokenizer and --vocab-size given"),
        ({"tokenizer": "x", "tokenizer_kind": "unigram"}, "drop --tokenizer"),
        (
            {"vocab_size": 300, "tokenizer_kind": "byte_level_bpe", "lowercase": True},
            "byte_level_bpe of roberta keeps case",
        ),
        (
            {"vocab_size": 300, "tokenizer_family": "xlm-roberta", "lowercase": True},
            "unigram of xlm-roberta keeps case",
        ),
        ({"tokenizer": "x", "vocabulary_sample_bytes": 9}, "--vocabulary-sample-mb is of a tok"),
        ({"vocab_size": 300, "vocabulary_sample_bytes": 9}, "sample of 9e-06 MB holds no document"),
        ({"vocab_size": 300, "vocabulary_sample_bytes": 0}, "sample_bytes is 0; expected at least"),
        ({"tokenizer": "x", "tokenizer_family": "bert"}, "--tokenizer-family is of a tokenizer to"),
        (
            {"vocab_size": 300, "tokenizer_kind": "unigram", "tokenizer_family": "modernbert"},
            "modernbert: none of --tokenizer-kind unigram; expected albert, deberta-v2, xlm-rob",
        ),
        ({"vocab_size": 300, "tokenizer_family": "t5"}, "t5: none; expected bert, mpnet, roberta"),
        ({"vocab_size": 9}, "--vocab-size 9 is below the"),
        (
            {"vocab_size": 300, "tokenizer_family": "esm"},
            "--vocab-size 300: residues of esm are the 33 tokens of ESM-2.*; give --vocab-size 33",
        ),
        ({"vocab_size": 100, "shard_tokens": 2**32}, "4294967296; expected at most 2147483648"),
        ({"vocab_size": 100, "processes": 0}, "--processes 0; expected at least 1"),
        ({"vocab_size": 100, "text_column": "body"}, "no row has the column body"),
        ({"vocab_size": 100, "limit_bytes": -1}, "limit_bytes is -1; expected at least 1"),
        ({"vocab_size": 100, "language": "eng"}, "--language eng: .* did you mean en"),
    ],
)
def test_contradictory_options_are_refused(tmp_path, corpus, options, message):
    with pytest.raises(UserError, match=message):
        prepare([str(corpus)], tmp_path / "s", PrepareOptions(**options))
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_without_text_is_refused(tmp_path, tokenizer):
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n{"text": " "}\n')
    with pytest.raises(UserError, match=r"no text in there \(problems: 2 empty document\)"):
        prepare([str(tmp_path / "a.jsonl")], tmp_path / "s", PrepareOptions(tokenizer))
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_an_existing_store_is_refused_before_any_work(tmp_path, corpus, tokenizer):
    prepare([str(corpus)], tmp_path / "s", PrepareOptions(tokenizer, processes=1))
    with pytest.raises(UserError, match="add --overwrite"):
        prepare([str(tmp_path / "missing.txt")], tmp_path / "s", PrepareOptions(tokenizer))


def test_the_verb_prints_what_is_in_the_store(tmp_path, corpus, tokenizer, capsys, monkeypatch):
    import argparse

    monkeypatch.setenv("COLUMNS", "200")
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    command = [str(corpus), "--out", str(tmp_path / "s"), "--tokenizer", tokenizer]
    assert verb.run(parser.parse_args([*command, "--processes", "1"])) == 0
    shown = capsys.readouterr()
    store = TokenStore.open(tmp_path / "s")
    assert f"{store.num_tokens:,}" in shown.out
    assert f"{corpus}:11" in shown.out
    assert "bytes per token" in shown.out
    assert "MB/s" in shown.err


def test_a_limit_is_of_the_text_of_all_sources(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("alpha beta.\n\ngamma delta.\n")
    (tmp_path / "b.jsonl").write_text('{"text": "epsilon."}\n{"text": "zeta."}\n{broken\n')
    sources = [str(tmp_path / name) for name in ("a.txt", "b.jsonl")]
    texts = ["alpha beta.", "gamma delta.", "epsilon.", "zeta."]
    for limit, count in ((1, 1), (11, 1), (12, 2), (24, 3), (31, 3), (32, 4), (1000, 4)):
        options = PrepareOptions(tokenizer, limit_bytes=limit, processes=1, overwrite=True)
        summary = prepare(sources, tmp_path / "s", options)
        assert summary.text_bytes == sum(map(len, texts[:count]))
        assert summary.documents == count
    assert summary.problems.counts == {"invalid JSON": 1}


def test_a_vocabulary_is_learnt_from_a_sample_of_all_sources(tmp_path, monkeypatch):
    rng = random.Random(0)
    for name, letters in (("a", "abcdef"), ("b", "uvwxyz")):
        words = ["".join(rng.choices(letters, k=4)) for _ in range(2000)]
        (tmp_path / f"{name}.txt").write_text("\n\n".join(words))
    sources, trained = [str(tmp_path / name) for name in ("a.txt", "b.txt")], []
    train = vocabulary_training.train_wordpiece

    def record(texts, *arguments, **options):
        trained.append(list(texts))
        return train(trained[-1], *arguments, **options)

    monkeypatch.setattr(vocabulary_training, "train_wordpiece", record)
    for sample in (None, 4000, 4000, 1_000_000):
        options = PrepareOptions(vocab_size=100, vocabulary_sample_bytes=sample, processes=1)
        prepare(sources, tmp_path / "s", replace(options, overwrite=True))
    whole, some, again, enough = trained
    assert enough == whole
    assert some == again
    assert 500 <= len(some) <= 1000
    assert set(some) < set(whole)
    from_first = sum(word[0] < "g" for word in some)
    assert 0.4 < from_first / len(some) < 0.6


def test_a_limit_bounds_what_a_vocabulary_learns_from(tmp_path):
    (tmp_path / "a.txt").write_text("alpha beta.\n\n" * 20)
    (tmp_path / "b.txt").write_text("omega.\n\n" * 20)
    sources = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    prepare(sources, tmp_path / "s", PrepareOptions(vocab_size=40, limit_bytes=220, processes=1))
    tokens = load_tokenizer(tmp_path / "s").vocab()
    assert ("alpha" in tokens, "omega" in tokens, "o" in tokens) == (True, False, False)


def test_parts_of_a_limited_corpus_are_that_corpus(tmp_path, corpus, tokenizer):
    options = PrepareOptions(tokenizer, limit_bytes=100_000, processes=1)
    whole = prepare([str(corpus)], tmp_path / "whole", options)
    parts = [tmp_path / "0", tmp_path / "1"]
    for index, part in enumerate(parts):
        prepare([str(corpus)], part, replace(options, part=Part(index, 2)))
    merged = merge(parts, tmp_path / "merged")
    assert 0 < whole.documents == merged.num_documents < 1000


@pytest.mark.parametrize("limit", ["-4", "0", "nan", "inf", "much"])
def test_a_limit_that_is_none_is_refused(capsys, limit):
    import argparse

    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["a.txt", "--out", "s", "--limit-mb", limit])
    said = capsys.readouterr().err
    assert f"argument --limit-mb: {limit}: expected a number of MB above 0" in said
