"""jaxbert: TPU-native training of BERT-family encoders, in and out of Hugging Face format.

The public face, held stable: `from_pretrained`, `save_pretrained`, `load_tokenizer`,
`functional`, `Predictor`, `EncoderConfig`, `Head`, `Model`. Names are imported when first used, so
that `import jaxbert` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxbert.experiment.predictor import Predictor
    from jaxbert.hub.load import from_pretrained
    from jaxbert.hub.save import save_pretrained
    from jaxbert.nn.config import EncoderConfig
    from jaxbert.nn.functional import functional
    from jaxbert.nn.head import Head
    from jaxbert.nn.model import Model
    from jaxbert.text.tokenizer import load_tokenizer

__version__ = "0.1.0"

__all__ = [
    "EncoderConfig",
    "Head",
    "Model",
    "Predictor",
    "from_pretrained",
    "functional",
    "load_tokenizer",
    "save_pretrained",
]

_HOMES = {
    "EncoderConfig": "jaxbert.nn.config",
    "Head": "jaxbert.nn.head",
    "Model": "jaxbert.nn.model",
    "Predictor": "jaxbert.experiment.predictor",
    "from_pretrained": "jaxbert.hub.load",
    "functional": "jaxbert.nn.functional",
    "load_tokenizer": "jaxbert.text.tokenizer",
    "save_pretrained": "jaxbert.hub.save",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxbert' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
