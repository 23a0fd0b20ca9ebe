"""Variables of Google's TensorFlow 1 models in PyTorch's names, family by family.

The names of the variables: modeling.py of google-research/bert, /albert and /electra.
"""

import re
from collections.abc import Callable

from jaxbert.errors import UserError
from jaxbert.hub.tensors import PyTorchName

Renaming = tuple[tuple[str, str], ...]
"""Regular expressions and what to put in their place, one after the other."""

# What the optimisers keep, and how far training had come.
NOT_WEIGHTS = re.compile(
    r"(^|/)(global_step|beta[12]_power|loss_scale|good_steps|bad_steps|"
    r"(adam|lamb)_[mv](_\d+)?|(Adam|LAMB|AdamWeightDecayOptimizer|LAMBOptimizer)(_\d+)?)$"
)

_EVERY: Renaming = (
    (r"/layer_(\d+)/", r"/layer/\1/"),
    (r"/gamma$", "/weight"),
    (r"/beta$", "/bias"),
    (r"_embeddings$", "_embeddings/weight"),
    # As the classifiers of run_classifier.py and run_squad.py are called.
    (r"^cls/squad/output_", "qa_outputs/"),
    (r"^output_", "classifier/"),
    (r"/output_weights$", "/weight"),
    (r"/output_bias$", "/bias"),
    (r"^(classifier|qa_outputs)/weights$", r"\1/weight"),
)

_ALBERT: Renaming = (
    (r"^module/", ""),
    (r"^bert/", "albert/"),
    (r"/transformer/group_(\d+)/", r"/albert_layer_groups/\1/"),
    (r"/inner_group_(\d+)/", r"/albert_layers/\1/"),
    (r"/attention_1/(self|output)/", "/attention/"),
    (r"(/albert_layers/\d+)/LayerNorm/", r"\1/attention/LayerNorm/"),
    (r"/LayerNorm_1/", "/full_layer_layer_norm/"),
    (r"/ffn_1/intermediate/output/dense/", "/ffn_output/"),
    (r"/ffn_1/intermediate/dense/", "/ffn/"),
    (r"/pooler/dense/", "/pooler/"),
    (r"^cls/predictions/transform/", "predictions/"),
    (r"^cls/predictions/", "predictions/"),
    (r"^cls/seq_relationship/", "sop_classifier/classifier/"),
)

_ELECTRA: Renaming = (
    (r"^discriminator_predictions/dense_1/", "discriminator_predictions/dense_prediction/"),
    (r"^generator_predictions/output_bias$", "generator_lm_head/bias"),
)

RENAMINGS = {"bert": _EVERY, "albert": _ALBERT + _EVERY, "electra": _ELECTRA + _EVERY}
# One checkpoint holds both of ELECTRA's models, and they share their embeddings.
_GENERATOR = re.compile(r"^generator(_predictions)?/")
_DISCRIMINATOR = re.compile(r"^(electra/(?!embeddings/)|discriminator_predictions/)")


def pytorch_names(
    model_type: str, *, is_generator: bool = False
) -> Callable[[str], PyTorchName | None]:
    """How to call a family's variables; None for what is no weight of the model.

    `is_generator` says which of ELECTRA's two models it is. Raises UserError for a family of
    which Google published no such checkpoint.
    """
    if model_type not in RENAMINGS:
        raise UserError(
            f"TensorFlow 1 checkpoints of model_type={model_type!r} are not known: expected one "
            f"of {', '.join(RENAMINGS)}"
        )

    def name(variable: str) -> PyTorchName | None:
        other = _DISCRIMINATOR if is_generator else _GENERATOR
        if NOT_WEIGHTS.search(variable) or (model_type == "electra" and other.match(variable)):
            return None
        is_transposed = variable.endswith("/kernel")
        variable = variable.removesuffix("/kernel") + "/weight" if is_transposed else variable
        for pattern, replacement in RENAMINGS[model_type]:
            variable = re.sub(pattern, replacement, variable)
        if is_generator:
            variable = re.sub(r"^generator/", "electra/", variable)
        return PyTorchName(variable.replace("/", "."), is_transposed)

    return name
