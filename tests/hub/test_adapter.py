"""LoRA against peft: outputs, gradients, and files both ways."""

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax.traverse_util import unflatten_dict
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file
from there_and_back import batch_for
from torch_models import LABELS, OPTIONS, as_torch, make_torch_model

from jaxbert.adapt.lora import merged, with_factors
from jaxbert.errors import UserError
from jaxbert.families import FAMILIES
from jaxbert.hub.convert import convert
from jaxbert.hub.load import Pretrained, from_pretrained, load_params
from jaxbert.hub.save_adapter import save_adapter
from jaxbert.nn.functional import functional, make_apply, model_from_params
from jaxbert.nn.head import Head
from jaxbert.nn.lora import LoRA
from jaxbert.tree import flat

# What peft asks transformers 5 for is deprecated there.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

EVERYWHERE = LoRA(rank=3, alpha=5.0, targets=("attention/(query|value|output)", "mlp/(up|down)"))
UNSAVED = {
    ("deberta-v2", "sequence_classification"): "missing pooler.dense",
    ("nomic_bert", "sequence_classification"): "missing nomic_bert.pooler.dense",
    ("modernbert", "question_answering"): "holds no classifier",
}
"""What peft leaves as it was drawn and does not save, so that nobody can read it again."""
LIKE_OTHERS = ("xlm-roberta", "camembert", "xlm-roberta-xl", "data2vec-text", "ernie")
"""Families whose layers are RoBERTa's or BERT's in every name."""
EVERY_LINEAR = {
    "deberta-v2": ["query_proj", "key_proj", "intermediate.dense"],
    "modernbert": ["Wqkv", "Wo"],
    "nomic_bert": ["q_proj", "v_proj", "down_proj"],
}


def save(model: Any, directory: Path) -> Path:
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(directory)
    return directory


def adapted(loaded: Pretrained, lora: LoRA) -> Any:
    """With factors of which none is zero."""
    draws, leaves = np.random.default_rng(0), flat(with_factors(loaded.params, lora, 0))
    return unflatten_dict(
        {
            path: draws.normal(0, 0.2, leaf.shape).astype(np.float32)
            if path.endswith("lora_b")
            else np.asarray(leaf)
            for path, leaf in leaves.items()
        },
        sep="/",
    )


def their_logits(model: Any, batch: dict[str, np.ndarray]) -> np.ndarray:
    # What peft has put into the model: its own class for questions forgets token_type_ids.
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    taken = inspect.signature(inner.forward).parameters
    inputs = {name: value for name, value in as_torch(batch).items() if name in taken}
    with torch.no_grad():
        output = inner(**inputs)
    return (output.logits if "logits" in output else output.start_logits).numpy()


def assert_close(ours: Any, theirs: np.ndarray) -> None:
    assert np.abs(np.asarray(ours) - theirs).max() <= 2e-5 * max(1.0, np.abs(theirs).max())


@pytest.mark.parametrize("model_type", [n for n in OPTIONS if n not in LIKE_OTHERS])
def test_peft_computes_what_we_do_with_an_adapter_of_ours(model_type: str, tmp_path: Path):
    architecture = FAMILIES[model_type].architecture("sequence_classification")
    assert architecture is not None
    theirs = make_torch_model(architecture)
    base = save(theirs, tmp_path / "base")
    loaded = load_params(base)
    lora = replace(EVERYWHERE, dropout=0.1, rslora=model_type in ("bert", "modernbert", "gte"))
    params = adapted(loaded, lora)
    # Only the adapter has the head that was trained.
    params["classifier"] = jax.tree.map(lambda x: x + 0.5, params["classifier"])
    if "pooler" in params:
        params["pooler"] = jax.tree.map(lambda x: x + 0.25, params["pooler"])
    save_adapter(params, lora, loaded.config, loaded.head, str(base), tmp_path / "adapter")

    batch = batch_for("sequence_classification", from_pretrained(base), 3, 32)
    ours = make_apply(loaded.config, loaded.head, lora=lora)(params, **batch).logits
    whole = model_from_params(merged(params, lora), loaded.config, loaded.head)
    assert_close(whole(**batch).logits, np.asarray(ours))
    again = from_pretrained(tmp_path / "adapter")
    assert again.head.labels == LABELS
    for path, leaf in flat(functional(again)[1]).items():
        np.testing.assert_allclose(leaf, flat(merged(params, lora))[path], rtol=1e-6, atol=1e-6)

    alone = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "adapter")
    assert_close(ours, their_logits(alone.eval(), batch))
    read = PeftModel.from_pretrained(theirs, tmp_path / "adapter").eval()
    assert_close(ours, their_logits(read, batch))
    assert_close(ours, their_logits(read.merge_and_unload(), batch))


@pytest.mark.parametrize("model_type", ["bert", "deberta-v2"])
def test_gradients_of_the_factors_are_those_of_peft(model_type: str, tmp_path: Path):
    architecture = FAMILIES[model_type].architecture("sequence_classification")
    theirs = make_torch_model(str(architecture))
    base = save(theirs, tmp_path / "base")
    loaded = load_params(base)
    lora = LoRA(rank=3, alpha=5.0, targets=("attention/.*", "mlp/.*"))
    params = adapted(loaded, lora)
    batch = batch_for("sequence_classification", from_pretrained(base), 3, 32)
    apply = make_apply(loaded.config, loaded.head, lora=lora)
    slope = np.random.default_rng(1).normal(size=(3, len(LABELS))).astype(np.float32)

    def loss(params: Any) -> jax.Array:
        return jnp.sum(apply(params, **batch).logits * slope)

    gradients = jax.jit(jax.grad(loss))(params)
    where = tmp_path / "adapter", tmp_path / "gradients"
    for tree, directory in zip((params, gradients), where, strict=True):
        save_adapter(tree, lora, loaded.config, loaded.head, str(base), directory)
    read = PeftModel.from_pretrained(theirs, where[0], is_trainable=True).eval()
    (read(**as_torch(batch)).logits * torch.from_numpy(slope)).sum().backward()
    found = load_file(where[1] / "adapter_model.safetensors")
    expected = {
        name.replace(".default", "").replace(".modules_to_save", ""): parameter.grad.numpy()
        for name, parameter in read.named_parameters()
        if parameter.grad is not None
    }
    assert {name for name in expected if "lora_" in name} == {n for n in found if "lora_" in n}
    assert len(expected) >= 2 * 6 * loaded.config.num_hidden_layers + 2
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for name, gradient in expected.items():
        bound = max(1e-4 * np.abs(gradient).max(), 1e-6 * largest)
        assert np.abs(found[name] - gradient).max() <= bound, name


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("sequence_classification", "SEQ_CLS"),
        ("token_classification", "TOKEN_CLS"),
        ("question_answering", "QUESTION_ANS"),
    ],
)
@pytest.mark.parametrize("model_type", ["bert", "deberta-v2", "modernbert", "nomic_bert", "esm"])
def test_an_adapter_of_peft_is_read_onto_its_base(
    model_type: str, kind: Any, task: str, tmp_path: Path
):
    family = FAMILIES[model_type]
    if (architecture := family.architecture(kind)) is None:
        pytest.skip("transformers has no such class")
    # The base says nothing of the head, as those on the Hub.
    origin = family.architecture("pretraining") or family.architecture("masked_lm")
    base = save(make_torch_model(str(origin)), tmp_path / "base")
    counted = {} if kind == "question_answering" else {"num_labels": 3}
    model = getattr(transformers, architecture).from_pretrained(base, **counted)
    targets = EVERY_LINEAR.get(model_type, ["query", "value", "output.dense"])
    options = LoraConfig(
        task_type=task,
        r=4,
        lora_alpha=6,
        lora_dropout=0.1,
        target_modules=targets,
        rank_pattern={targets[0]: 2},
        alpha_pattern={rf"{targets[-1]}": 3},
        use_rslora=model_type == "bert",
        init_lora_weights=False,
    )
    wrapped = get_peft_model(model, options).eval()
    save(wrapped, tmp_path / "adapter")
    if missing := UNSAVED.get((model_type, kind)):
        with pytest.raises(UserError, match=missing):
            from_pretrained(tmp_path / "adapter")
        return
    ours = from_pretrained(tmp_path / "adapter")
    assert ours.head.kind == kind
    batch = batch_for(kind, ours, 3, 32)
    output = ours(**batch)
    found = np.asarray(output.start_logits if output.logits is None else output.logits)
    expected = their_logits(wrapped, batch)
    is_of_tokens = kind != "sequence_classification"
    real = batch["attention_mask"].astype(bool) if is_of_tokens else ...
    assert_close(found[real], expected[real])


PLAIN = {
    "peft_type": "LORA",
    "task_type": "SEQ_CLS",
    "base_model_name_or_path": "base",
    "r": 4,
    "lora_alpha": 6,
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"peft_type": "LOHA"}, "peft_type='LOHA': only LORA is read"),
        ({"use_dora": True}, "use_dora=True is more than plain LoRA"),
        ({"bias": "all"}, "bias='all' is more than plain LoRA"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' is more than plain LoRA"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out=True is more than plain LoRA"),
        ({"some_day": {"a": 1}}, "some_day={'a': 1} is more than plain LoRA"),
        ({"base_model_name_or_path": None}, "base_model_name_or_path=None: name the adapter's"),
        ({"base_model_name_or_path": "."}, "its base, ., is an adapter itself: merge that first"),
    ],
)
def test_what_is_no_plain_lora_is_refused_in_one_line(
    changed: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(PLAIN | changed))
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_factors_that_fit_no_layer_or_rank_are_refused(tmp_path: Path):
    base = save(make_torch_model("BertModel"), tmp_path / "base")
    loaded, lora = load_params(base), LoRA(rank=2)
    params = adapted(loaded, lora)
    save_adapter(params, lora, loaded.config, loaded.head, str(base), tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    fields = json.loads(file.read_text())
    file.write_text(json.dumps(fields | {"r": 3}))
    with pytest.raises(UserError, match=r"query have rank 2, and adapter_config.json says 3"):
        from_pretrained(tmp_path / "adapter")
    other = save(make_torch_model("BertModel", hidden_size=12), tmp_path / "other")
    file.write_text(json.dumps(fields | {"base_model_name_or_path": str(other)}))
    with pytest.raises(UserError, match=r"from 24 to 24, fit no layer of .*other"):
        from_pretrained(tmp_path / "adapter")


@pytest.mark.parametrize("architecture", ["JinaEmbeddingsV3Model", "BertModel"])
def test_factors_of_embeddings_are_read_onto_the_tables(architecture: str, tmp_path: Path):
    model = make_torch_model(architecture)
    base = save(model, tmp_path / "base")
    options = LoraConfig(
        task_type="FEATURE_EXTRACTION",
        r=3,
        lora_alpha=5,
        target_modules=["word_embeddings", "token_type_embeddings", "v_proj", "value"],
        init_lora_weights=False,
    )
    model.name_or_path = str(base)
    wrapped = get_peft_model(model, options).eval()
    save(wrapped, tmp_path / "adapter")
    ours = from_pretrained(tmp_path / "adapter")
    batch = batch_for("none", ours, 3, 17)
    with torch.no_grad():
        expected = wrapped(**as_torch(batch)).last_hidden_state.numpy()
    real = batch["attention_mask"].astype(bool)
    assert_close(np.asarray(ours(**batch).last_hidden_state)[real], expected[real])


def test_factors_of_embeddings_are_none_of_the_projection_that_is_tied_to_them(tmp_path: Path):
    model = make_torch_model("BertForMaskedLM")
    model.name_or_path = str(save(model, tmp_path / "base"))
    wrapped = get_peft_model(model, LoraConfig(target_modules=["word_embeddings"]))
    save(wrapped, tmp_path / "adapter")
    with pytest.raises(UserError, match=r"word_embeddings are not those of the output projection"):
        from_pretrained(tmp_path / "adapter")
    assert from_pretrained(tmp_path / "adapter", head="none").head == Head()


def test_a_pickled_adapter_is_read_as_tensors_alone_and_convert_merges(tmp_path: Path):
    base = save(make_torch_model("BertForTokenClassification"), tmp_path / "base")
    loaded = load_params(base)
    params, adapter = adapted(loaded, EVERYWHERE), tmp_path / "adapter"
    save_adapter(params, EVERYWHERE, loaded.config, loaded.head, str(base), adapter)
    tensors = load_file(adapter / "adapter_model.safetensors")
    state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    torch.save(state, adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    convert(adapter, tmp_path / "merged")
    expected = flat(merged(params, EVERYWHERE))
    for path, leaf in flat(load_params(tmp_path / "merged").params).items():
        np.testing.assert_allclose(leaf, expected[path], rtol=1e-6, atol=1e-6)
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(UserError, match=r"holds no adapter_model\.safetensors"):
        from_pretrained(adapter)


def test_an_adapter_beside_a_whole_model_is_put_onto_that(tmp_path: Path):
    base = save(make_torch_model("BertForTokenClassification"), tmp_path / "base")
    loaded = load_params(base)
    params, adapter = adapted(loaded, EVERYWHERE), tmp_path / "adapter"
    save_adapter(params, EVERYWHERE, loaded.config, loaded.head, "elsewhere", adapter)
    for file in adapter.glob("adapter*"):
        (base / file.name).write_bytes(file.read_bytes())
    batch = batch_for("token_classification", from_pretrained(base), 2, 16)
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(base).eval()
    assert_close(from_pretrained(base)(**batch).logits, their_logits(theirs, batch))
