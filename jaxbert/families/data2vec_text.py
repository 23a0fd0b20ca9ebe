"""Data2VecText (Baevski et al. 2022): RoBERTa, pretrained by the states of a teacher."""

from dataclasses import replace

from jaxbert.families.roberta import BASE as ROBERTA_BASE
from jaxbert.families.roberta import DEFAULTS as ROBERTA_DEFAULTS
from jaxbert.families.roberta import family

DATA2VEC_TEXT = family(
    "Data2VecText",
    replace(ROBERTA_DEFAULTS, model_type="data2vec-text", vocab_size=30522),
    {"data2vec-text-base": replace(ROBERTA_BASE, model_type="data2vec-text")},
    prefix="data2vec_text.",
)
