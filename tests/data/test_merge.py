import argparse
import json
import shutil
from dataclasses import replace

import pytest

from jaxbert.cli import merge as merge_verb
from jaxbert.cli import prepare as prepare_verb
from jaxbert.data.chunks import Position, read_chunks
from jaxbert.data.filters import Filters
from jaxbert.data.merge import merge
from jaxbert.data.parts import Part, Share
from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.data.problems import Problems
from jaxbert.data.sources.beginning import Beginning
from jaxbert.data.sources.resolve import SourceOptions, resolve_sources
from jaxbert.data.store import TokenStore
from jaxbert.errors import UserError
from jaxbert.text.tokenizer import save_tokenizer
from jaxbert.text.training import train_wordpiece

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Five files of a few documents, a broken line in each."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(5):
        lines = [
            json.dumps({"text": f"{WORDS[number]} {WORDS[row % 10]}. " * (row + 1)})
            for row in range(10 + number)
        ]
        lines[number + 2] = "{broken"
        (folder / f"{number}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(train_wordpiece([" ".join(WORDS) + "."] * 5, 80), directory)
    return PrepareOptions(str(directory), processes=1)


def prepare_parts(sources, folder, options, count):
    paths = [folder / f"{index}" for index in range(count)]
    for index, path in enumerate(paths):
        prepare(sources, path, replace(options, part=Part(index, count)))
    return paths


def documents(store):
    return [[s.tolist() for s in store.document(i)] for i in range(store.num_documents)]


def lines(store):
    return (store / "problems.jsonl").read_text().splitlines()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_parts_of_whole_files_make_the_store_of_one_host(tmp_path, corpus, options, count):
    sources = [f"{corpus}/*.jsonl"]
    whole = prepare(sources, tmp_path / "whole", options)
    parts = prepare_parts(sources, tmp_path, options, count)
    merged = merge(reversed(parts) if count < 5 else parts, tmp_path / "merged")
    expected = TokenStore.open(tmp_path / "whole")
    assert merged.fingerprint == expected.fingerprint
    assert documents(merged) == documents(expected)
    assert lines(tmp_path / "merged") == lines(tmp_path / "whole")
    names = ("documents", "tokens", "text_bytes", "unknown_tokens", "problems", "dropped")
    assert {n: merged.metadata[n] for n in names} == {n: expected.metadata[n] for n in names}
    assert merged.num_documents == whole.documents
    assert len(merged.shards) == count


def test_parts_of_few_sources_take_turns_with_the_documents(tmp_path, corpus, options):
    sources = [f"{corpus}/0.jsonl", f"{corpus}/1.jsonl"]
    prepare(sources, tmp_path / "whole", options)
    parts = prepare_parts(sources, tmp_path, options, 3)
    merged = merge(parts, tmp_path / "merged")
    whole = TokenStore.open(tmp_path / "whole")
    first, second = documents(whole)[:9], documents(whole)[9:]
    turns = [d for i in range(3) for d in first[i::3] + second[i::3]]
    assert documents(merged) == turns
    assert sorted(lines(tmp_path / "merged")) == sorted(lines(tmp_path / "whole"))


def test_more_parts_than_documents_leave_some_empty(tmp_path, options):
    (tmp_path / "a.txt").write_text("alpha beta.\n\ngamma.\n")
    parts = prepare_parts([f"{tmp_path}/a.txt"], tmp_path, options, 4)
    assert [TokenStore.open(part).num_documents for part in parts] == [1, 1, 0, 0]
    assert merge(parts, tmp_path / "merged").num_documents == 2


def test_merging_copies_nothing(tmp_path, corpus, options):
    parts = prepare_parts([f"{corpus}/*.jsonl"], tmp_path, options, 2)
    merge(parts, tmp_path / "merged")
    for number, part in enumerate(parts):
        name = "shards/0000{}/tokens.bin"
        merged = tmp_path / "merged" / name.format(number)
        assert merged.samefile(part / name.format(0))
    shutil.rmtree(parts[0])
    assert TokenStore.open(tmp_path / "merged").document(0)


def test_files_are_copied_where_they_cannot_be_linked(tmp_path, corpus, options, monkeypatch):
    parts = prepare_parts([f"{corpus}/*.jsonl"], tmp_path, options, 2)

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    merged = merge(parts, tmp_path / "merged")
    monkeypatch.undo()
    assert merged.fingerprint == merge(parts, tmp_path / "linked").fingerprint
    assert not (merged.shards[0].path / "tokens.bin").samefile(parts[0] / "shards/00000/tokens.bin")


def test_parts_that_do_not_belong_together_are_refused(tmp_path, corpus, options):
    sources = [f"{corpus}/*.jsonl"]
    zero, one = prepare_parts(sources, tmp_path, options, 2)
    prepare(sources, tmp_path / "whole", options)
    lined = replace(options, sentences="lines", filters=Filters(exact_duplicates=True))
    prepare(sources, tmp_path / "lines", replace(lined, part=Part(1, 2)))
    prepare([f"{corpus}/[0-3].jsonl"], tmp_path / "fewer", replace(options, part=Part(1, 2)))
    prepare(sources, tmp_path / "of3", replace(options, part=Part(1, 3)))
    for given, message in (
        ([zero], r"no part 1/2; give all 2 parts"),
        ([zero, one, zero], r"0: part 0/2, as .*0 is; give each part once"),
        ([zero, tmp_path / "whole"], r"whole: not a part"),
        ([zero, tmp_path / "lines"], r"other sentences, filters; prepare all"),
        ([zero, tmp_path / "fewer"], r"other sources, sources_digest; prepare all"),
        ([zero, tmp_path / "of3"], r"other number of parts; prepare all"),
        ([zero, tmp_path / "none"], r"no such token store"),
    ):
        with pytest.raises(UserError, match=message):
            merge(given, tmp_path / "merged")
    assert not list(tmp_path.glob("merged*"))


def test_parts_need_one_tokenizer(tmp_path, corpus):
    options = PrepareOptions(vocab_size=100, part=Part(0, 2))
    with pytest.raises(UserError, match="all parts need one --tokenizer"):
        prepare([f"{corpus}/*.jsonl"], tmp_path / "s", options)


@pytest.mark.parametrize("text", ["8/8", "1", "1/", "-1/2", "a/b", "0/0", "²/3"])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="expected i/n with i from 0 to n - 1"):
        Part.parse(text)


@pytest.mark.parametrize(("first", "step"), [(0, 1), (1, 3)])
def test_reading_goes_on_from_the_end_of_any_chunk(corpus, monkeypatch, first, step):
    monkeypatch.setattr("jaxbert.data.chunks._CHUNK_DOCUMENTS", 4)
    share = Share(resolve_sources([f"{corpus}/*.jsonl"], SourceOptions()), first, step)
    advanced = []
    whole = list(read_chunks(share, Position(), advanced.append))
    assert sum(advanced) == sum(source.size for source in share.sources)
    for number, chunk in enumerate(whole):
        advanced.clear()
        rest = list(read_chunks(share, chunk.end, advanced.append))
        again = whole[number + 1 :] or [whole[-1]._replace(documents=[], problems=[])]
        assert rest == again
        assert sum(advanced) == sum(source.size for source in share.sources)


def test_reading_the_beginning_of_a_corpus_goes_on_from_the_end_of_any_chunk(corpus, monkeypatch):
    monkeypatch.setattr("jaxbert.data.chunks._CHUNK_DOCUMENTS", 4)
    sources = resolve_sources([f"{corpus}/*.jsonl"], SourceOptions())
    share = Share([Beginning(tuple(sources), 1500)])
    whole = list(read_chunks(share, Position(), lambda _: None))
    documents = [document for chunk in whole for document in chunk.documents]
    size = sum(len(document.text) for document in documents)
    assert 1500 <= size < 1500 + len(documents[-1].text)
    assert len({document.file for document in documents}) > 1
    for number, chunk in enumerate(whole[:-1]):
        assert list(read_chunks(share, chunk.end, lambda _: None)) == whole[number + 1 :]


def test_the_shares_of_all_parts_are_the_corpus(corpus):
    sources = resolve_sources([f"{corpus}/*.jsonl"], SourceOptions())
    everything = [d for source in sources for d in source.read(Problems(), lambda _: None)]
    for count in (1, 2, 3, 5, 6, 40):
        found = []
        problems = 0
        for index in range(count):
            for chunk in read_chunks(
                Part(index, count).choose(sources), Position(), lambda _: None
            ):
                found += chunk.documents
                problems += len(chunk.problems)
        assert problems == 5
        if count <= len(sources):
            assert found == everything
        assert sorted(found, key=str) == sorted(everything, key=str)


def test_the_verbs_prepare_parts_and_merge_them(tmp_path, corpus, options, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for index in range(2):
        parser = argparse.ArgumentParser()
        prepare_verb.add_arguments(parser)
        command = f"{corpus}/*.jsonl --out {tmp_path}/{index} --tokenizer {options.tokenizer}"
        command += f" --shard {index}/2 --processes 1 --shard-tokens 300 --deduplicate exact"
        command += " --quality gopher --quality min_words=4"
        command += " --quality scripts=[Latin] --quality min_script_share=0.5"
        assert prepare_verb.run(parser.parse_args(command.split())) == 0
        shown = capsys.readouterr().out
        assert "dropped and why" in shown
        assert "too short" in shown
    parser = argparse.ArgumentParser()
    merge_verb.add_arguments(parser)
    command = f"{tmp_path}/0 {tmp_path}/1 --out {tmp_path}/merged"
    assert merge_verb.run(parser.parse_args(command.split())) == 0
    store = TokenStore.open(tmp_path / "merged")
    assert len(store.shards) == 2
    assert f"{store.num_tokens:,}" in capsys.readouterr().out
    assert store.metadata["dropped"]["too short"]["documents"] == 5


def test_a_similarity_without_near_duplicates_is_refused(tmp_path, corpus):
    parser = argparse.ArgumentParser()
    prepare_verb.add_arguments(parser)
    command = f"{corpus}/*.jsonl --out {tmp_path}/s --vocab-size 100 --similarity 0.8"
    with pytest.raises(UserError, match="add --deduplicate near"):
        prepare_verb.run(parser.parse_args(command.split()))
