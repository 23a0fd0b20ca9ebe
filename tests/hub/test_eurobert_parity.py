"""What EuroBERT alone has, against transformers' classes in PyTorch."""

import json
from pathlib import Path
from typing import Any

import pytest
from there_and_back import assert_bfloat16_deviates_no_more_than_pytorchs, assert_there_and_back
from torch_models import make_torch_model

from jaxbert.hub.load import from_pretrained

OPTIONS: dict[str, dict[str, Any]] = {
    "every bias": {"attention_bias": True, "mlp_bias": True},
    "tied": {"tie_word_embeddings": True, "num_key_value_heads": None},
    "one head of keys, another base": {
        "num_key_value_heads": 1,
        "hidden_act": "gelu",
        "rope_parameters": {"rope_type": "default", "rope_theta": 30.0},
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_matches_pytorch(options: dict[str, Any], tmp_path: Path):
    assert_there_and_back("EuroBertForMaskedLM", tmp_path, **options)


@pytest.mark.parametrize("pooling", ["bos", "mean"])
def test_other_poolings_match_pytorch(pooling: str, tmp_path: Path):
    options = {"classifier_pooling": pooling}
    assert_there_and_back("EuroBertForSequenceClassification", tmp_path, **options)


def test_the_words_of_the_published_files_are_the_same_model(tmp_path: Path):
    make_torch_model("EuroBertForMaskedLM").save_pretrained(tmp_path)
    expected = from_pretrained(tmp_path).config
    file = tmp_path / "config.json"
    fields = json.loads(file.read_text())
    theta = fields.pop("rope_parameters")["rope_theta"]
    fields |= {"rope_theta": theta, "rope_scaling": None, "clf_pooling": "late"}
    fields["auto_map"] = {"AutoModel": "EuroBERT/EuroBERT-210m--modeling_eurobert.EuroBertModel"}
    del fields["classifier_pooling"]
    file.write_text(json.dumps(fields))
    assert from_pretrained(tmp_path).config == expected


@pytest.mark.parametrize("head", ["MaskedLM", "TokenClassification"])
def test_euroberts_bfloat16_deviates_no_more_than_pytorchs_own(head: str, tmp_path: Path):
    assert_bfloat16_deviates_no_more_than_pytorchs(f"EuroBertFor{head}", tmp_path)
