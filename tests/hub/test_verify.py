"""The verification of an export: every family, every head, and what it must not miss."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file
from torch_models import make_torch_model

from jaxbert.families import FAMILIES
from jaxbert.hub.load import from_pretrained
from jaxbert.hub.verify import random_inputs, verify

PLAIN = [name for family in FAMILIES.values() if (name := family.architecture("none"))]
HEADS = [
    *(name for name in FAMILIES["bert"].architectures if name != "BertModel"),
    *(name for name in FAMILIES["roberta"].architectures if name != "RobertaModel"),
    *("AlbertForPreTraining", "ElectraForPreTraining", "DistilBertForMultipleChoice"),
]


@pytest.mark.parametrize("architecture", [*PLAIN, *HEADS])
def test_every_family_and_head_verifies(architecture: str, tmp_path: Path):
    make_torch_model(architecture).save_pretrained(tmp_path)
    differences = verify(from_pretrained(tmp_path), tmp_path)
    assert differences.architecture == architecture
    assert len(differences.outputs) >= 1 + ("For" in architecture)
    assert differences.is_equivalent


@pytest.mark.parametrize(
    ("architecture", "key", "output"),
    [
        ("RobertaForQuestionAnswering", "qa_outputs.bias", "end logits"),
        ("DistilBertForMultipleChoice", "pre_classifier.weight", "logits"),
        ("RobertaModel", "pooler.dense.bias", "pooled"),
        (
            "RobertaForTokenClassification",
            "roberta.embeddings.position_embeddings.weight",
            "logits",
        ),
        ("AlbertForPreTraining", "sop_classifier.classifier.bias", "sentence-pair logits"),
    ],
)
def test_a_wrong_tensor_shows_in_the_output_that_it_makes(
    architecture: str, key: str, output: str, tmp_path: Path
):
    make_torch_model(architecture).save_pretrained(tmp_path)
    model = from_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors[key] *= 1.1
    save_file(tensors, tmp_path / "model.safetensors")
    found = {difference.name: difference for difference in verify(model, tmp_path).outputs}
    assert not found[output].is_within_tolerance


def test_inputs_hold_no_more_tokens_than_the_model_takes():
    config = replace(FAMILIES["roberta"].presets["roberta-base"], max_position_embeddings=30)
    inputs = random_inputs(config, "multiple_choice", 0)
    assert inputs["input_ids"].shape == (2, 2, 28)
    assert not inputs["token_type_ids"].any()
    assert (inputs["input_ids"][inputs["attention_mask"] == 0] == 1).all()
