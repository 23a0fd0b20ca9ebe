import json
import random
from functools import partial
from pathlib import Path

import pytest
import tokenizers
from strings import LATIN, ODD, random_strings
from tokenizers import models, pre_tokenizers, processors, trainers

from jaxbert.text.tokenizer import Tokenizer, save_tokenizer
from jaxbert.text.training import train_byte_level_bpe, train_wordpiece


def _texts() -> list[str]:
    rng = random.Random(0)
    words = [*LATIN.split(), "running", "runner", "ran", "sleeping", "中文", "漢字"]
    sentences = [" ".join(rng.choices(words, k=12)) for _ in range(300)]
    return sentences + random_strings(200, seed=1) + [" ".join(ODD)]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return _texts()


@pytest.fixture(scope="session", params=["uncased", "cased"])
def tokenizer(request, texts) -> Tokenizer:
    return train_wordpiece(texts, 1200, lowercase=request.param == "uncased")


# The special pieces of each family's published file; the last two are no family's habit.
SENTENCEPIECE = {
    "albert": {
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": -1,
        "eos_id": -1,
        "pad_piece": "<pad>",
        "control_symbols": ["[CLS]", "[SEP]"],
        "user_defined_symbols": ["[MASK]", "(", ")", '"', "-", ".", ","],
    },
    "xlm-roberta": {"unk_id": 0, "bos_id": 1, "eos_id": 2},
    "deberta-v2": {
        "pad_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "unk_id": 3,
        "pad_piece": "[PAD]",
        "bos_piece": "[CLS]",
        "eos_piece": "[SEP]",
        "unk_piece": "[UNK]",
    },
    "bytes": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "byte_fallback": True},
    "unnormalized": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "normalization_rule_name": "identity"},
}


@pytest.fixture(scope="session")
def sentencepiece_models(texts, tmp_path_factory) -> dict[str, Path]:
    """Files as SentencePiece itself trains and writes them."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="extra `test`")
    directory = tmp_path_factory.mktemp("sentencepiece")
    lines = [text.replace("\n", " ").replace("\0", "") for text in texts]
    for name, options in SENTENCEPIECE.items():
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_prefix=str(directory / name),
            model_type="unigram",
            vocab_size=700,
            hard_vocab_limit=False,
            character_coverage=0.98,
            num_threads=1,
            minloglevel=2,
            **options,
        )
    return {name: directory / f"{name}.model" for name in SENTENCEPIECE}


# model_type of config.json, the vocabulary file and its model, tokenizer_config.json.
FAMILIES = {
    "bert": ("bert", "vocab.txt", None, {"do_lower_case": True}),
    "distilbert": ("distilbert", "vocab.txt", None, {"do_lower_case": False}),
    "nomic_bert": ("nomic_bert", "vocab.txt", None, {"do_lower_case": True}),
    "ernie": ("ernie", "vocab.txt", None, {"do_lower_case": True}),
    "megatron-bert": ("megatron-bert", "vocab.txt", None, {"do_lower_case": False}),
    "electra": (
        "electra",
        "vocab.txt",
        None,
        {"tokenizer_class": "ElectraTokenizerFast", "do_lower_case": True, "strip_accents": False},
    ),
    # As microsoft/mpnet-base has it.
    "mpnet": ("mpnet", "vocab.txt", None, {"model_max_length": 512, "do_lower_case": True}),
    "mpnet cased": (
        "mpnet",
        "vocab.txt",
        None,
        {
            "tokenizer_class": "MPNetTokenizer",
            "do_lower_case": False,
            "mask_token": "<mask>",
            "strip_accents": True,
            "tokenize_chinese_chars": False,
        },
    ),
    "roberta": ("roberta", "vocab.json", None, {"model_max_length": 512}),
    "data2vec-text": ("data2vec-text", "vocab.json", None, {"trim_offsets": True}),
    "roberta-prelayernorm": ("roberta-prelayernorm", "vocab.json", None, {}),
    "roberta with a prefix": (
        "roberta",
        "vocab.json",
        None,
        {
            "add_prefix_space": True,
            "additional_special_tokens": ["<ent>"],
            "mask_token": {
                "__type": "AddedToken",
                "content": "<mask>",
                "lstrip": True,
                "normalized": True,
                "rstrip": False,
                "single_word": False,
            },
        },
    ),
    "xlm-roberta": ("xlm-roberta", "sentencepiece.bpe.model", "xlm-roberta", {}),
    "xlm-roberta with bytes": ("xlm-roberta", "sentencepiece.bpe.model", "bytes", {}),
    "xlm-roberta unnormalized": ("xlm-roberta", "sentencepiece.bpe.model", "unnormalized", {}),
    "gte": ("gte", "sentencepiece.bpe.model", "xlm-roberta", {}),
    # camembert-base states this and no more.
    "camembert": (
        "camembert",
        "sentencepiece.bpe.model",
        "xlm-roberta",
        {"model_max_length": 512},
    ),
    "albert": ("albert", "spiece.model", "albert", {}),
    "albert cased": (
        "albert",
        "spiece.model",
        "albert",
        {"do_lower_case": False, "keep_accents": True},
    ),
    # microsoft/deberta-v3-base has these files and no other.
    "deberta-v2": ("deberta-v2", "spm.model", "deberta-v2", {"vocab_type": "spm"}),
    "deberta-v2 lowercase": (
        "deberta-v2",
        "spm.model",
        "deberta-v2",
        {"do_lower_case": True, "split_by_punct": True},
    ),
}


@pytest.fixture(scope="session", params=FAMILIES)
def published(request, texts, tmp_path_factory) -> Path:
    """A directory as the checkpoints of a family have it, without tokenizer.json."""
    model_type, name, model, config = FAMILIES[request.param]
    directory = tmp_path_factory.mktemp("published")
    if model is not None:
        models = request.getfixturevalue("sentencepiece_models")
        (directory / name).write_bytes(models[model].read_bytes())
    else:
        train = train_wordpiece if name == "vocab.txt" else train_byte_level_bpe
        if model_type == "mpnet":
            train = partial(train_wordpiece, family="mpnet")
        save_tokenizer(train(texts, 1200), directory)
        (directory / "tokenizer.json").unlink()
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "config.json").write_text(json.dumps({"model_type": model_type}))
    return directory


@pytest.fixture(scope="session")
def eurobert_tokenizer(texts) -> Tokenizer:
    """As EuroBERT's: bytes, framed by bos and eos, and no unknown, cls or sep token."""
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|mask|>", "<|pad|>"]
    bos, eos, mask, pad = names
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=names, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}", pair=f"{bos} $A $B {eos}", special_tokens=[(bos, 0), (eos, 1)]
    )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "bos_token": bos,
        "eos_token": eos,
        "mask_token": mask,
        "pad_token": pad,
    }
    return Tokenizer(backend, config)
