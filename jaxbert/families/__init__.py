"""The families that can be built, loaded and saved. A family is a file in this folder."""

from jaxbert.errors import UserError, nearest
from jaxbert.families.albert import ALBERT
from jaxbert.families.bert import BERT
from jaxbert.families.data2vec_text import DATA2VEC_TEXT
from jaxbert.families.deberta import DEBERTA
from jaxbert.families.deberta_v2 import DEBERTA_V2
from jaxbert.families.distilbert import DISTILBERT
from jaxbert.families.electra import ELECTRA
from jaxbert.families.ernie import ERNIE
from jaxbert.families.esm import ESM
from jaxbert.families.eurobert import EUROBERT
from jaxbert.families.family import Family
from jaxbert.families.gte import GTE
from jaxbert.families.jina_embeddings_v3 import JINA_EMBEDDINGS_V3
from jaxbert.families.megatron_bert import MEGATRON_BERT
from jaxbert.families.modernbert import MODERNBERT
from jaxbert.families.mpnet import MPNET
from jaxbert.families.nomic_bert import NOMIC_BERT
from jaxbert.families.roberta import CAMEMBERT, ROBERTA, XLM_ROBERTA
from jaxbert.families.roberta_prelayernorm import ROBERTA_PRELAYERNORM
from jaxbert.families.xlm_roberta_xl import XLM_ROBERTA_XL
from jaxbert.nn.config import EncoderConfig

FAMILIES = {
    family.model_type: family
    for family in (
        BERT,
        ROBERTA,
        XLM_ROBERTA,
        CAMEMBERT,
        ROBERTA_PRELAYERNORM,
        XLM_ROBERTA_XL,
        DATA2VEC_TEXT,
        MPNET,
        MEGATRON_BERT,
        ERNIE,
        DISTILBERT,
        ALBERT,
        ELECTRA,
        DEBERTA,
        DEBERTA_V2,
        MODERNBERT,
        EUROBERT,
        NOMIC_BERT,
        GTE,
        JINA_EMBEDDINGS_V3,
        ESM,
    )
}


def family_of(model_type: str) -> Family:
    """The family that config.json calls `model_type`."""
    for family in FAMILIES.values():
        if family.former_model_type == model_type:
            return family
    if model_type not in FAMILIES:
        known = list(FAMILIES)
        raise UserError(
            f"model_type={model_type!r} is not implemented: {nearest(model_type, known)}"
        )
    return FAMILIES[model_type]


def preset(name: str) -> EncoderConfig:
    """A published size by its name, such as "bert-base-uncased"."""
    for family in FAMILIES.values():
        if name in family.presets:
            return family.presets[name]
    names = [name for family in FAMILIES.values() for name in family.presets]
    raise UserError(f"there is no preset {name!r}: {nearest(name, names)}")
