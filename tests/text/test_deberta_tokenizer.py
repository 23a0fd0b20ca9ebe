"""The tokenizer of DeBERTa's first version: transformers' own, but for what is within a pair."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from strings import ODD, random_strings

from jaxbert.text.tokenizer import Tokenizer, load_tokenizer, save_tokenizer
from jaxbert.text.training import train_byte_level_bpe

transformers = pytest.importorskip("transformers")

STRINGS = ["", " ", "  two  spaces ", *ODD, *random_strings(150, seed=21)]
PAIRS = random_strings(len(STRINGS), seed=22)
CASES: dict[str, dict[str, Any]] = {
    # microsoft/deberta-base states this and no more.
    "published": {"do_lower_case": False, "vocab_type": "gpt2"},
    "with a space": {
        "tokenizer_class": "DebertaTokenizerFast",
        "add_prefix_space": True,
        "mask_token": {"__type": "AddedToken", "content": "[MASK]", "lstrip": True},
    },
}


@pytest.fixture(scope="module", params=CASES)
def published(
    request: pytest.FixtureRequest, texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    directory = tmp_path_factory.mktemp("deberta")
    save_tokenizer(train_byte_level_bpe(texts, 1200, family="deberta"), directory)
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer_config.json").write_text(json.dumps(CASES[request.param]))
    (directory / "config.json").write_text('{"model_type": "deberta"}')
    return directory


def reference(directory: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(directory)


def ids(tokenizer: Tokenizer, *texts: list[str]) -> list[list[int]]:
    rows = tokenizer.encode(*texts, max_length=10_000, padding=False)["input_ids"]
    return [row.tolist() for row in rows]


def test_texts_are_cut_as_by_transformers_class(published: Path):
    ours, theirs = load_tokenizer(published), reference(published)
    assert type(theirs).__name__ == "DebertaTokenizer"
    assert ids(ours, STRINGS) == theirs(STRINGS)["input_ids"]
    for role in ("pad", "cls", "sep", "mask", "unk"):
        assert getattr(ours, f"{role}_id") == getattr(theirs, f"{role}_token_id")
    found, expected = (
        json.loads(backend.to_str()) for backend in (ours.backend, theirs.backend_tokenizer)
    )
    for part in ("model", "normalizer", "pre_tokenizer", "decoder", "added_tokens"):
        assert found[part] == expected[part]


def test_one_separator_stands_within_a_pair_as_in_the_authors_code(published: Path):
    ours, theirs = load_tokenizer(published), reference(published)
    encoded = ours.encode(STRINGS, PAIRS, max_length=10_000, padding=False)
    rows = zip(encoded["input_ids"], encoded["token_type_ids"], strict=True)
    first, second = (theirs(t, add_special_tokens=False)["input_ids"] for t in (STRINGS, PAIRS))
    for (row, types), a, b in zip(rows, first, second, strict=True):
        assert row.tolist() == [ours.cls_id, *a, ours.sep_id, *b, ours.sep_id]
        assert types.tolist() == [0] * (len(a) + 2) + [1] * (len(b) + 1)


def test_transformers_reads_what_was_saved_with_one_separator_too(published: Path, tmp_path: Path):
    ours = load_tokenizer(published)
    save_tokenizer(ours, tmp_path)
    shutil.copy(published / "config.json", tmp_path)
    theirs, again = reference(tmp_path), load_tokenizer(tmp_path)
    found = theirs(STRINGS, PAIRS)
    encoded = again.encode(STRINGS, PAIRS, max_length=10_000, padding=False)
    assert ids(ours, STRINGS, PAIRS) == ids(again, STRINGS, PAIRS) == found["input_ids"]
    assert [row.tolist() for row in encoded["token_type_ids"]] == found["token_type_ids"]
    assert ids(again, STRINGS) == theirs(STRINGS)["input_ids"]
    assert again.special_ids == ours.special_ids
    save_tokenizer(again, tmp_path / "again")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_tokenizer_json_decides_how_its_model_was_trained(published: Path, tmp_path: Path):
    """transformers 5 writes two separators there, which who trains with it has trained with."""
    theirs = reference(published)
    theirs.save_pretrained(tmp_path)
    shutil.copy(published / "config.json", tmp_path)
    ours = load_tokenizer(tmp_path)
    assert ids(ours, STRINGS, PAIRS) == theirs(STRINGS, PAIRS)["input_ids"]
    assert (ours.pad_id, ours.mask_id) == (theirs.pad_token_id, theirs.mask_token_id)
    # As transformers 4 has it.
    file = tmp_path / "tokenizer.json"
    state = json.loads(file.read_text())
    del state["post_processor"]["pair"][3]
    file.write_text(json.dumps(state))
    assert ids(load_tokenizer(tmp_path), STRINGS, PAIRS) == ids(
        load_tokenizer(published), STRINGS, PAIRS
    )
