"""XLM-R XL and XXL (Goyal et al. 2021): norms before the blocks, and none of the embeddings."""

from dataclasses import replace

from jaxbert.families.bert import NormKeys
from jaxbert.families.roberta import BASE as ROBERTA_BASE
from jaxbert.families.roberta import family

XL = replace(
    ROBERTA_BASE,
    model_type="xlm-roberta-xl",
    vocab_size=250880,
    hidden_size=2560,
    num_hidden_layers=36,
    num_attention_heads=32,
    intermediate_size=10240,
    embedding_norm=False,
    norm_placement="pre",
    # As in transformers' class, which drops out behind attention alone.
    mlp_output_dropout_prob=0.0,
)
XXL = replace(XL, hidden_size=4096, num_hidden_layers=48, intermediate_size=16384)

XLM_ROBERTA_XL = family(
    "XLMRobertaXL",
    XL,
    {"xlm-roberta-xl": XL, "xlm-roberta-xxl": XXL},
    norms=NormKeys("attention.self_attn_layer_norm", "LayerNorm", "encoder.LayerNorm"),
)
