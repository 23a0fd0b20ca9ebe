"""A head that a file does not hold: what is taken over, and what is new."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
import transformers
from torch_models import LABELS, make_torch_model

from jaxbert.families import FAMILIES
from jaxbert.hub.convert import convert
from jaxbert.hub.load import load_params
from jaxbert.nn.head import LABELLED

LIKE_OTHERS = ("camembert", "xlm-roberta-xl", "megatron-bert")
"""Families whose heads and prefix are RoBERTa's or BERT's in every name."""
CASES = [
    (family.model_type, architecture)
    for family in FAMILIES.values()
    for architecture, kind in family.architectures.items()
    if kind != "masked_lm" and family.model_type not in LIKE_OTHERS
]


@pytest.fixture(scope="module")
def masked_lm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a family's masked language model, saved by transformers."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()

    @cache
    def save(model_type: str) -> Path:
        architecture = FAMILIES[model_type].architecture("masked_lm")
        assert architecture is not None
        directory = tmp_path_factory.mktemp(model_type)
        make_torch_model(architecture).save_pretrained(directory)
        return directory

    return save


@pytest.fixture(scope="module")
def as_orbax(masked_lm: Callable[[str], Path]) -> Callable[[str], Path]:
    """The same in jaxbert's own layout."""

    @cache
    def make(model_type: str) -> Path:
        directory = masked_lm(model_type)
        convert(directory, directory / "orbax", layout="orbax")
        return directory / "orbax"

    return make


@pytest.mark.parametrize(("model_type", "architecture"), CASES)
def test_what_is_new_is_what_transformers_finds_missing(
    masked_lm: Callable[[str], Path],
    as_orbax: Callable[[str], Path],
    model_type: str,
    architecture: str,
):
    directory, family = masked_lm(model_type), FAMILIES[model_type]
    kind = family.architectures[architecture]
    loaded = load_params(directory, head=kind, labels=LABELS if kind in LABELLED else None)
    table = family.weights(loaded.config, loaded.head)
    native = load_params(as_orbax(model_type), head=kind, labels=loaded.head.labels or None)
    assert native.fresh == loaded.fresh
    compared = jax.tree.map(np.array_equal, native.params, loaded.params)
    assert all(jax.tree.leaves(compared))
    model_class = getattr(transformers, architecture)
    _, report = model_class.from_pretrained(directory, output_loading_info=True)
    assert {w.key for w in table if w.path in loaded.fresh} == set(report["missing_keys"])
