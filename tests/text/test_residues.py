"""ESM's tokenizer of proteins against transformers' class."""

import json
import random
import shutil
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from jaxbert.errors import UserError
from jaxbert.text.extend import add_tokens
from jaxbert.text.residues import RESIDUES, residue_table
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer, save_tokenizer
from jaxbert.text.training import residue_tokenizer

transformers = pytest.importorskip("transformers", reason="extra `parity`")

# What stands in sequences, and what does not belong there: spaces of all kinds, other letters,
# parts of special tokens.
PARTS = [*RESIDUES, *"LAGV" * 8, "<mask>", "<", "mask>", "<null_1", "[MASK]", "*", "??", "1"]
PARTS += [" ", "\n", "\t", "\x1c", "\x85", "\u00a0", "\u2003", "\u200b", "m", "k", "J", "\u4e2d"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as facebook/esm2_t6_8M_UR50D has it: no tokenizer.json."""
    directory = tmp_path_factory.mktemp("esm")
    # Without a line break at the end.
    (directory / "vocab.txt").write_text("\n".join(RESIDUES))
    names = {"cls_token": "<cls>", "eos_token": "<eos>", "pad_token": "<pad>"}
    names |= {"unk_token": "<unk>", "mask_token": "<mask>"}
    (directory / "special_tokens_map.json").write_text(json.dumps(names))
    stated = {"model_max_length": 1024, "tokenizer_class": "EsmTokenizer"}
    (directory / "tokenizer_config.json").write_text(json.dumps(stated))
    (directory / "config.json").write_text(json.dumps({"model_type": "esm"}))
    return directory


def sequences(count: int) -> list[str]:
    draws = random.Random(0)
    return ["".join(draws.choices(PARTS, k=draws.randint(0, 14))) for _ in range(count)]


def assert_same_ids(ours: Tokenizer, theirs: object) -> None:
    texts = sequences(800)
    found = ours.encode(texts, max_length=10_000, padding=False)["input_ids"]
    expected = theirs(texts)["input_ids"]  # type: ignore[operator]
    for text, row, other in zip(texts, found, expected, strict=True):
        assert row.tolist() == other, repr(text)


def test_ids_are_those_of_transformers(published: Path):
    theirs = transformers.AutoTokenizer.from_pretrained(published)
    assert type(theirs) is transformers.EsmTokenizer
    assert_same_ids(load_tokenizer(published), theirs)


def test_pairs_are_framed_as_by_transformers(published: Path):
    ours = load_tokenizer(published).encode(["MK<mask>T"], ["LA"])
    theirs = transformers.AutoTokenizer.from_pretrained(published)("MK<mask>T", "LA")
    assert ours["input_ids"].tolist() == [theirs["input_ids"]]
    assert not ours["token_type_ids"].any()


def test_what_we_save_opens_in_transformers_and_what_it_saves_here(published: Path, tmp_path: Path):
    ours = load_tokenizer(published)
    save_tokenizer(ours, tmp_path / "ours")
    shutil.copy(published / "config.json", tmp_path / "ours")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert type(theirs) is transformers.EsmTokenizer
    assert theirs.model_max_length == 1024
    assert_same_ids(ours, theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    assert_same_ids(load_tokenizer(tmp_path / "theirs"), theirs)
    assert_same_ids(load_tokenizer(tmp_path / "ours"), theirs)


def test_the_tokenizer_without_files_is_the_published_one(published: Path):
    ours, read = residue_tokenizer(), load_tokenizer(published)
    assert ours.backend.to_str() == read.backend.to_str()
    assert ours.vocab() == list(RESIDUES)
    ids = [ours.cls_id, ours.pad_id, ours.sep_id, ours.unk_id, ours.mask_id]
    assert ids == [0, 1, 2, 3, 32]


def test_letters_looked_up_in_a_table_have_the_ids_of_the_backend():
    ours = residue_tokenizer()
    # Sequences, and among them texts with what no table has.
    texts = [*sequences(200), "MKTAYIAKQR" * 50, "", "LAGV.-", "MKL\u00e9A", "MK LA"]
    plain = Tokenizer(ours.backend.from_str(ours.backend.to_str()), ours.config)
    plain.backend.encode_special_tokens = True
    encodings = plain.backend.encode_batch(texts, add_special_tokens=False)
    assert ours.encode_plain(texts) == [encoding.ids for encoding in encodings]
    assert ours.encode_plain([]) == []
    # A word is longer than its letters.
    longer = add_tokens(ours, ["LAG"])
    assert residue_table(longer.backend) is None
    assert longer.encode_plain(["MK LAG LA"]) == [[20, 15, 33, 4, 5]]
    # Nor are letters what others cut a text into.
    others = tokenizers.Tokenizer(models.WordLevel({"?": 0, "L": 1, "A": 2}, unk_token="?"))
    others.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert residue_table(others) is None


def test_added_residues_are_found_within_sequences_here_and_in_transformers(tmp_path: Path):
    ours = add_tokens(residue_tokenizer(), ["J", "LAG"])
    save_tokenizer(ours, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("MKJVV", "J", "MKLAGVV", "LAGJLA", "MK LAG"):
        found = ours.encode([text], padding=False)["input_ids"][0].tolist()
        assert found == theirs(text)["input_ids"]
        assert (
            found == load_tokenizer(tmp_path).encode([text], padding=False)["input_ids"][0].tolist()
        )
        assert ours.unk_id not in found


def test_sequences_without_an_end_are_refused(tmp_path: Path):
    (tmp_path / "vocab.txt").write_text("<unk>\n<pad>\n<mask>\n<cls>\nA\n")
    config = {"tokenizer_class": "EsmTokenizer", "eos_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="eos_token is null"):
        load_tokenizer(tmp_path)


def test_plain_text_holds_no_special_token_and_every_residue_is_a_word():
    ours = residue_tokenizer()
    [ids] = ours.encode_plain(["<cls>MK <mask> L<eos>"])
    assert [ours.vocab()[i] for i in ids if i != ours.unk_id] == ["M", "K", "L"]
    assert not ours.is_continuation().any()
    words = ours.encode_words([["M", "K", "x", "T"]])[0]
    assert words.words.tolist() == [-1, 0, 1, 2, 3, -1]
