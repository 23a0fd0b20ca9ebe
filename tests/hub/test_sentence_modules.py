"""Encoders that pool, in the layout of sentence-transformers."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers
from torch_models import Saved, as_torch, make_batch

from jaxbert.errors import UserError
from jaxbert.hub.load import load_params
from jaxbert.hub.save import layout_for, save_params
from jaxbert.hub.sentence_modules import read_pooling
from jaxbert.nn.functional import make_apply
from jaxbert.nn.head import Head


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
    assert read_pooling(tmp_path / "out") == pooling
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


def test_a_pooling_that_is_not_implemented_is_refused(tmp_path: Path):
    assert read_pooling(tmp_path) is None
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(UserError, match=r"1_Pooling/config\.json is missing"):
        read_pooling(tmp_path)
    file = tmp_path / "1_Pooling" / "config.json"
    file.parent.mkdir()
    for name in ("pooling_mode_mean_sqrt_len_tokens", "pooling_mode_lasttoken"):
        file.write_text(json.dumps({"pooling_mode_mean_tokens": False, name: True}))
        with pytest.raises(UserError, match=rf"poolings \['{name}'\]: expected one of pooling_mo"):
            read_pooling(tmp_path)
