import random

import pytest

from jaxbert.errors import UserError
from jaxbert.text.sentencepiece_model import read_sentencepiece
from jaxbert.text.tokenizer import load_tokenizer

NAMES = ["albert", "xlm-roberta", "deberta-v2", "bytes", "unnormalized"]


@pytest.mark.parametrize("name", NAMES)
def test_the_fields_are_those_that_the_library_reads(sentencepiece_models, name):
    pb2 = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    theirs = pb2.ModelProto()
    theirs.ParseFromString(sentencepiece_models[name].read_bytes())
    ours = read_sentencepiece(sentencepiece_models[name])
    assert ours.pieces == [(piece.piece, piece.score) for piece in theirs.pieces]
    assert ours.kinds == [piece.type for piece in theirs.pieces]
    assert ours.unk_id == theirs.trainer_spec.unk_id
    assert (ours.charsmap or b"") == theirs.normalizer_spec.precompiled_charsmap
    assert (ours.charsmap is None) == (name == "unnormalized")


def test_a_file_by_hand_is_read(tmp_path):
    # Two pieces (the second one without score or kind) and unk_id 1 among the trainer's fields.
    file = tmp_path / "m.model"
    file.write_bytes(
        b"\x0a\x0a\x0a\x01a\x15\0\0\x80\xbf\x18\x03"
        + b"\x0a\x03\x0a\x01b"
        + b"\x12\x03\xc0\x02\x01"
    )
    model = read_sentencepiece(file)
    assert model.pieces == [("a", -1.0), ("b", 0.0)]
    assert (model.kinds, model.unk_id, model.charsmap) == ([3, 1], 1, None)


def test_a_file_that_was_cut_is_refused(sentencepiece_models, tmp_path):
    whole = sentencepiece_models["deberta-v2"].read_bytes()
    rng = random.Random(0)
    for size in [0, 1, 2, len(whole) - 1, *rng.sample(range(len(whole)), 60)]:
        file = tmp_path / "spm.model"
        file.write_bytes(whole[:size])
        with pytest.raises(
            UserError, match=r"spm.model: not a whole SentencePiece model \(.*again"
        ):
            load_tokenizer(file)


def test_a_pointer_in_place_of_the_file_is_refused(tmp_path):
    file = tmp_path / "spiece.model"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 760289\n")
    with pytest.raises(UserError, match="not a whole SentencePiece model"):
        load_tokenizer(tmp_path)


def test_flipped_bits_give_a_model_or_a_user_error(sentencepiece_models, tmp_path):
    whole = sentencepiece_models["unnormalized"].read_bytes()
    rng = random.Random(1)
    refused = 0
    for _ in range(300):
        spoilt = bytearray(whole)
        for place in rng.sample(range(len(whole)), 3):
            spoilt[place] = rng.randrange(256)
        file = tmp_path / "m.model"
        file.write_bytes(spoilt)
        try:
            read_sentencepiece(file)
        except UserError:
            refused += 1
    assert refused > 100


def test_a_model_of_another_type_is_refused(texts, tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece", reason="extra `test`")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["low lower lowest"] * 20),
        model_prefix=str(tmp_path / "spm"),
        model_type="bpe",
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(
        UserError, match=r"spm.model: .* not of type unigram; give .*tokenizer.json"
    ):
        load_tokenizer(tmp_path)
