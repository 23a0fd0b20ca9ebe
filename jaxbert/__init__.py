"""jaxbert: TPU-native training of BERT-family encoders, in and out of Hugging Face format.

The public face, held stable: `from_pretrained`, `save_pretrained`, `load_tokenizer`, `convert`;
`pretrain`, `finetune`, `Predictor`; `preset`, `EncoderConfig`, `Head`, `Model`; `functional`,
`init_params`, `make_apply`, and back `model_from_params`, `save_params`; `UserError`. Names are
imported when first used, so that `import jaxbert` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxbert.errors import UserError
    from jaxbert.experiment.from_values import finetune, pretrain
    from jaxbert.experiment.predictor import Predictor
    from jaxbert.families import preset
    from jaxbert.hub.convert import convert
    from jaxbert.hub.load import from_pretrained
    from jaxbert.hub.save import save_params, save_pretrained
    from jaxbert.nn.config import EncoderConfig
    from jaxbert.nn.functional import functional, init_params, make_apply, model_from_params
    from jaxbert.nn.head import Head
    from jaxbert.nn.model import Model
    from jaxbert.text.tokenizer import load_tokenizer

__version__ = "0.1.0"

__all__ = [
    "EncoderConfig",
    "Head",
    "Model",
    "Predictor",
    "UserError",
    "convert",
    "finetune",
    "from_pretrained",
    "functional",
    "init_params",
    "load_tokenizer",
    "make_apply",
    "model_from_params",
    "preset",
    "pretrain",
    "save_params",
    "save_pretrained",
]

_HOMES = {
    "EncoderConfig": "jaxbert.nn.config",
    "Head": "jaxbert.nn.head",
    "Model": "jaxbert.nn.model",
    "Predictor": "jaxbert.experiment.predictor",
    "UserError": "jaxbert.errors",
    "convert": "jaxbert.hub.convert",
    "finetune": "jaxbert.experiment.from_values",
    "from_pretrained": "jaxbert.hub.load",
    "functional": "jaxbert.nn.functional",
    "init_params": "jaxbert.nn.functional",
    "load_tokenizer": "jaxbert.text.tokenizer",
    "make_apply": "jaxbert.nn.functional",
    "model_from_params": "jaxbert.nn.functional",
    "preset": "jaxbert.families",
    "pretrain": "jaxbert.experiment.from_values",
    "save_params": "jaxbert.hub.save",
    "save_pretrained": "jaxbert.hub.save",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxbert' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
