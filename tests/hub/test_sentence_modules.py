"""Encoders that pool, in the layout of sentence-transformers."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers
from torch_models import Saved, as_torch, make_batch

from jaxbert.cli import main
from jaxbert.errors import UserError
from jaxbert.experiment.inference import ready, section_of
from jaxbert.families import preset
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.save import layout_for, save_params
from jaxbert.hub.sentence_modules import as_sentence_encoder, load_tokenizer_of, read_modules
from jaxbert.hub.sentence_prompts import read_prompts
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.nn.head import Head, Pooling
from jaxbert.tasks.prompts import Prompts
from jaxbert.text.tokenizer import save_tokenizer
from jaxbert.text.training import train_wordpiece


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_an_encoder_that_pools_comes_back_and_transformers_reads_the_same_states(
    saved: Callable[..., Saved], tmp_path: Path, pooling: Any
):
    head = Head(pooling=pooling)
    first = load_params(saved("BertModel").directory, head=head)
    assert layout_for(first.config, head) == "huggingface"
    save_params(first.params, first.config, head, None, tmp_path / "out")
    again = load_params(tmp_path / "out")
    assert (again.head, again.fresh, again.unused) == (head, (), ())
    assert read_modules(tmp_path / "out") == head
    modules = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling"]
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling"]
    fields = json.loads((tmp_path / "out" / "1_Pooling" / "config.json").read_text())
    assert fields["word_embedding_dimension"] == first.config.hidden_size
    if pooling == "mean":
        batch = make_batch(2, 9)
        quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
        apply = make_apply(again.config, again.head)
        found = quickly(lambda params, batch: apply(params, **batch).pooled)(again.params, batch)
        theirs = transformers.BertModel.from_pretrained(
            tmp_path / "out", add_pooling_layer=False
        ).eval()
        with torch.no_grad():
            states = theirs(**as_torch(batch)).last_hidden_state.numpy()
        mask = batch["attention_mask"][..., None]
        expected = (states * mask).sum(axis=1) / mask.sum(axis=1)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


OLD, NEW = "sentence_transformers.models.", "sentence_transformers.sentence_transformer.modules."


def write_modules(directory: Path, kinds: list[str], pooling: dict[str, Any]) -> Path:
    """sentence-transformers' files; `kinds` are the types of the modules."""
    modules = []
    for number, kind in enumerate(kinds):
        path = f"{number}_{kind.rpartition('.')[2]}" if number else ""
        modules.append({"idx": number, "name": str(number), "path": path, "type": kind})
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir(exist_ok=True)
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return directory


@pytest.mark.parametrize(
    ("kinds", "pooling"),
    [
        (
            [OLD + "Transformer", OLD + "Pooling", OLD + "Normalize"],
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        ),
        (
            [
                "sentence_transformers.base.modules.transformer.Transformer",
                NEW + "pooling.Pooling",
                "sentence_transformers.base.modules.normalize.Normalize",
            ],
            {"embedding_dimension": 24, "pooling_mode": "cls", "include_prompt": True},
        ),
    ],
    ids=["old", "new"],
)
def test_a_conversion_keeps_the_modules_of_sentence_transformers(
    copy_of: Callable[[str], Path], tmp_path: Path, kinds: list[str], pooling: dict[str, Any]
):
    source, out = write_modules(copy_of("BertModel"), kinds, pooling), tmp_path / "out"
    head = Head(pooling="cls", is_normalized=True)
    assert load_params(source).head == head
    # Whoever asks for a head gets it: BERT's own vector is still there.
    assert load_params(source, head=Head()).head == Head()
    assert main(["convert", str(source), str(out), "--verify"]) == 0
    assert (load_params(out).head, read_modules(out)) == (head, head)
    native = tmp_path / "native"
    assert main(["convert", str(out), str(native), "--to", "orbax"]) == 0
    assert load_params(native).head == head
    batch = make_batch(2, 9)
    theirs = transformers.BertModel.from_pretrained(source).eval()
    with torch.no_grad():
        first = theirs(**as_torch(batch)).last_hidden_state[:, 0]
    expected = torch.nn.functional.normalize(first, dim=-1).numpy()
    for directory in (source, out, native):
        found = from_pretrained(directory)(**batch).pooled
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_conversion_keeps_prompts_and_tasks_have_them(
    copy_of: Callable[[str], Path], tmp_path: Path
):
    kinds = [OLD + "Transformer", OLD + "Pooling"]
    source = write_modules(copy_of("BertModel"), kinds, {"pooling_mode": "mean"})
    tokenizer = train_wordpiece(["A text."], 40, min_frequency=1)
    save_tokenizer(tokenizer, source)
    prompts = {"prompts": {"query": "Frage: ä", "none": ""}, "similarity_fn_name": "cosine"}
    file = "config_sentence_transformers.json"
    others = {"__version__": {"pytorch": "2.0"}, "default_prompt_name": None}
    (source / file).write_text(json.dumps(prompts | others))
    native, out = tmp_path / "native", tmp_path / "out"
    for _ in range(2):
        assert main(["convert", str(source), str(native), "--to", "orbax", "--overwrite"]) == 0
    assert main(["convert", str(native), str(out)]) == 0
    assert json.loads((out / file).read_text("utf-8")) == prompts
    model = ready(out)
    assert model.loaded.head == Head(pooling="mean")
    assert section_of(model).prompts == Prompts(query="Frage: ä")
    for name, default in (("none", ""), ("query", "Frage: ä"), ("passage", None)):
        (source / file).write_text(json.dumps(prompts | {"default_prompt_name": name}))
        assert main(["convert", str(source), str(out), "--overwrite"]) == 0
        assert json.loads((out / file).read_text("utf-8"))["default_prompt_name"] == name
        if default is None:
            with pytest.raises(UserError, match=f"{file}: default_prompt_name='passage' is none"):
                section_of(ready(out))
        else:
            expected = Prompts("Frage: ä", document=default, default=default)
            assert section_of(ready(out)).prompts == expected
    (out / file).write_text("[]")
    with pytest.raises(UserError, match=f"{file}: expected a JSON object, found list"):
        section_of(ready(out))


@pytest.mark.parametrize("pooling", [None, "mean", "attention", "segments"])
def test_every_encoder_that_pools_keeps_its_prompts(pooling: Pooling | None, tmp_path: Path):
    encoder, head = replace(preset("bert-tiny"), vocab_size=40), Head(pooling=pooling)
    prompts, out = {"prompts": {"query": "q: "}}, tmp_path / "out"
    layout = layout_for(encoder, head)
    params = init_params(encoder, head, 0)
    save_params(params, encoder, head, None, out, layout=layout, prompts=prompts)
    assert read_prompts(out) == ({} if pooling is None else prompts)


def test_our_own_export_is_replaced_with_its_licence(
    copy_of: Callable[[str], Path], tmp_path: Path
):
    kinds = [OLD + "Transformer", OLD + "Pooling"]
    source = write_modules(copy_of("BertModel"), kinds, {"pooling_mode": "max"})
    (source / "README.md").write_text("---\nlicense: mit\n---\n# Theirs\n")
    for options in ([], ["--overwrite"]):
        assert main(["convert", str(source), str(tmp_path / "out"), *options]) == 0
    assert load_params(tmp_path / "out").head.pooling == "max"
    assert "license: mit\n" in (tmp_path / "out" / "README.md").read_text()


def test_what_others_make_of_our_export_goes_before_our_own_note(
    copy_of: Callable[[str], Path], tmp_path: Path
):
    kinds = [OLD + "Transformer", OLD + "Pooling"]
    source = write_modules(copy_of("BertModel"), kinds, {"pooling_mode": "mean"})
    assert main(["convert", str(source), str(tmp_path / "out")]) == 0
    write_modules(tmp_path / "out", [*kinds, OLD + "Normalize"], {"pooling_mode": "cls"})
    assert load_params(tmp_path / "out").head == Head(pooling="cls", is_normalized=True)
    write_modules(tmp_path / "out", [*kinds, OLD + "LSTM"], {"pooling_mode": "mean"})
    with pytest.raises(UserError, match="Transformer, Pooling, LSTM"):
        load_params(tmp_path / "out")


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        ([OLD + "Transformer", OLD + "Pooling", OLD + "LSTM"], "Transformer, Pooling, LSTM"),
        (["sentence_transformers.base.modules.router.Router"], "Router"),
        ([OLD + "Transformer", "mine.Pooling"], "Transformer, mine.Pooling"),
        ([], "none"),
    ],
)
def test_modules_that_are_not_implemented_are_refused(
    copy_of: Callable[[str], Path], kinds: list[str], found: str
):
    source = write_modules(copy_of("BertModel"), kinds, {"pooling_mode": "mean"})
    with pytest.raises(UserError, match=rf"modules\.json: modules {found}: expected Transformer"):
        load_params(source)
    # What reads the encoder alone does not ask.
    labelled = Head("sequence_classification", ("a", "b"))
    assert load_params(source, head=labelled).head == labelled


def test_a_pooling_that_is_not_implemented_is_refused(tmp_path: Path):
    assert read_modules(tmp_path) is None
    write_modules(tmp_path, [OLD + "Transformer", OLD + "Pooling"], {"pooling_mode": ["mean"]})
    assert read_modules(tmp_path) == Head(pooling="mean")
    file = tmp_path / "1_Pooling" / "config.json"
    for name in ("pooling_mode_mean_sqrt_len_tokens", "pooling_mode_lasttoken"):
        file.write_text(json.dumps({"pooling_mode_mean_tokens": False, name: True}))
        with pytest.raises(UserError, match=rf"poolings \['{name}'\]: expected one of pooling_mo"):
            read_modules(tmp_path)
    file.write_text(json.dumps({"pooling_mode": "mean", "include_prompt": False}))
    with pytest.raises(UserError, match="include_prompt=false is not implemented"):
        read_modules(tmp_path)
    for mode in ("lasttoken", ["cls", "mean"], None):
        file.write_text(json.dumps({"pooling_mode": mode}))
        with pytest.raises(UserError, match=r"pooling_mode=.*: expected one of cls, mean, max"):
            read_modules(tmp_path)
    file.unlink()
    with pytest.raises(UserError, match=r"1_Pooling/config\.json is missing"):
        read_modules(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_seq_length": 0}, "max_seq_length=0: expected a whole number of at least 1"),
        ({"do_lower_case": True}, "do_lower_case=true, and the tokenizer keeps case"),
    ],
)
def test_what_sentence_transformers_does_to_texts_is_done_or_refused(
    tmp_path: Path, fields: dict[str, Any], message: str
):
    tokenizer = train_wordpiece(["A text."], 40, min_frequency=1, lowercase=False)
    file = tmp_path / "sentence_bert_config.json"
    file.write_text(json.dumps(fields))
    assert as_sentence_encoder(tokenizer, tmp_path) is tokenizer
    write_modules(tmp_path, [OLD + "Transformer", OLD + "Pooling"], {"pooling_mode": "cls"})
    with pytest.raises(UserError, match=message):
        as_sentence_encoder(tokenizer, tmp_path)
    file.write_text(json.dumps({"max_seq_length": 16, "do_lower_case": False}))
    assert as_sentence_encoder(tokenizer, tmp_path).model_max_length == 16
    save_tokenizer(tokenizer, tmp_path)
    of_vectors, of_classes = (
        load_tokenizer_of(tmp_path, head).model_max_length
        for head in (Head(pooling="mean"), Head("sequence_classification", ("a", "b")))
    )
    assert (of_vectors, of_classes) == (16, tokenizer.model_max_length)


@pytest.mark.parametrize(
    "architecture",
    ["BertForSequenceClassification", "BertForMaskedLM", "ModernBertForSequenceClassification"],
)
def test_what_transformers_makes_of_our_encoder_does_not_pool_as_it_did(
    saved: Callable[..., Saved], tmp_path: Path, architecture: str
):
    encoder = "ModernBertModel" if architecture.startswith("Modern") else "BertModel"
    head = Head(pooling="mean")
    loaded = load_params(saved(encoder).directory, head=head)
    save_params(loaded.params, loaded.config, head, None, tmp_path / "encoder")
    other = {"classifier_pooling": "cls"} if architecture.startswith("Modern") else {}
    theirs_class = getattr(transformers, architecture)
    theirs = theirs_class.from_pretrained(tmp_path / "encoder", **other).eval()
    theirs.save_pretrained(tmp_path / "classifier")
    fields = json.loads((tmp_path / "classifier" / "config.json").read_text())
    assert fields["jaxbert_pooling"] == "mean"

    batch = make_batch(3, 16)
    del batch["token_type_ids"]
    with torch.no_grad():
        expected = theirs(**as_torch(batch)).logits.numpy()
    found = np.asarray(from_pretrained(tmp_path / "classifier")(**batch).logits)
    real = batch["attention_mask"] == 1 if expected.ndim == 3 else slice(None)
    np.testing.assert_allclose(found[real], expected[real], atol=2e-5)
