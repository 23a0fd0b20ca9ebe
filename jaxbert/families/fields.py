"""Fields of config.json, checked where they enter."""

from collections.abc import Mapping
from typing import Any, get_type_hints

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.parts import Activation

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""transformers' spellings of the activations that are implemented."""

NEVER: dict[str, Any] = {
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
    "quantization_config": None,
}
"""Fields of every family that change the mathematics, and the one value that is implemented."""

_TYPES = get_type_hints(EncoderConfig)


def read_fields(hf: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The fields of an EncoderConfig that config.json gives; `names`: ours to theirs."""
    found: dict[str, Any] = {}
    for ours, theirs in names.items():
        if theirs not in hf:
            continue
        if _TYPES[ours] is bool:
            found[ours] = flag(theirs, hf[theirs])
        else:
            is_whole = _TYPES[ours] in (int, int | None)
            found[ours] = number(theirs, hf[theirs], whole=is_whole)
    return found


def padding_of(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Null: no token is padding, and which row stands there changes nothing."""
    if "pad_token_id" in hf and hf["pad_token_id"] is None:
        return {"pad_token_id": 0}
    return read_fields(hf, {"pad_token_id": "pad_token_id"})


def write_fields(config: EncoderConfig, names: Mapping[str, str]) -> dict[str, Any]:
    """The same fields back in config.json's names."""
    return {theirs: getattr(config, ours) for ours, theirs in names.items()}


def number(name: str, value: Any, *, whole: bool) -> int | float:
    """The number that a field holds; UserError naming it where it is none."""
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise UserError(f"{name}={value!r}: expected {'an integer' if whole else 'a number'}")
    return value if whole else float(value)


def rate(hf: Mapping[str, Any], name: str) -> float | None:
    """A dropout rate that may be null or missing."""
    return None if hf.get(name) is None else float(number(name, hf[name], whole=False))


def flag(name: str, value: Any) -> bool:
    """The truth that a field holds."""
    if not isinstance(value, bool):
        raise UserError(f"{name}={value!r}: expected true or false")
    return value


def activation(hf: Mapping[str, Any], name: str, default: Activation) -> Activation:
    """The activation that a field names."""
    value = hf.get(name, default)
    if not isinstance(value, str) or value not in ACTIVATIONS:
        choices = ", ".join(ACTIVATIONS)
        raise UserError(f"{name}={value!r} is not implemented: expected one of {choices}")
    return ACTIVATIONS[value]


def refuse_other_mathematics(
    hf: Mapping[str, Any], model_type: str, fixed: Mapping[str, Any]
) -> None:
    """Raises UserError for a field of `NEVER` or `fixed` with another value than the one given."""
    for name, implemented in {**NEVER, **fixed}.items():
        value = hf.get(name)
        if value is not None and value != implemented:
            raise UserError(
                f"{name}={value!r} is not implemented for {model_type}: expected {implemented!r}"
            )
    custom = [name for name in hf.get("auto_map") or {} if str(name).startswith("AutoModel")]
    if custom:
        raise UserError(
            f"auto_map names custom code for {custom[0]}, so the model is not the published "
            f"{model_type}: take a checkpoint without custom model code"
        )


def without_own_code(hf: Mapping[str, Any], *marks: str) -> dict[str, Any]:
    """The fields without an `auto_map` whose every name holds one of `marks`.

    Those are of the family's own code, which transformers has taken over since.
    """
    auto_map = hf.get("auto_map")
    names = [str(name) for name in auto_map.values()] if isinstance(auto_map, Mapping) else []
    is_own = all(any(mark in name for mark in marks) for name in names)
    return {name: value for name, value in hf.items() if name != "auto_map" or not is_own}


def rope_theta(parameters: Any, default: Any) -> float:
    """The base of rotary positions from one object of `rope_parameters`.

    Raises UserError for another kind of rotation than the plain one.
    """
    given = {} if parameters is None else parameters
    plain = {"rope_type": "default", "type": "default", "partial_rotary_factor": 1.0}
    if not isinstance(given, Mapping) or any(
        name != "rope_theta" and plain.get(name) != value for name, value in given.items()
    ):
        raise UserError(
            f"rope_parameters={parameters!r} is not implemented: expected rope_type 'default' and "
            "rope_theta"
        )
    return float(number("rope_theta", given.get("rope_theta", default), whole=False))
