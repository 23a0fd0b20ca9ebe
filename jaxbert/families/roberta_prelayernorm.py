"""RoBERTa-PreLayerNorm (Wettig et al. 2023): RoBERTa with its norms before the blocks."""

from dataclasses import replace

from jaxbert.families.bert import NormKeys
from jaxbert.families.roberta import DEFAULTS as ROBERTA_DEFAULTS
from jaxbert.families.roberta import LARGE as ROBERTA_LARGE
from jaxbert.families.roberta import family
from jaxbert.nn.config import EncoderConfig


def _pre_norm(config: EncoderConfig) -> EncoderConfig:
    """The embeddings keep their norm, as with fairseq's --encoder-normalize-before."""
    return replace(config, model_type="roberta-prelayernorm", norm_placement="pre")


ROBERTA_PRELAYERNORM = family(
    "RobertaPreLayerNorm",
    _pre_norm(ROBERTA_DEFAULTS),
    # Those of other rates of masking, m0.15 to m0.80, are of the same size.
    {"efficient_mlm_m0.40": _pre_norm(ROBERTA_LARGE)},
    prefix="roberta_prelayernorm.",
    norms=NormKeys("attention.LayerNorm", "intermediate.LayerNorm", "LayerNorm"),
)
