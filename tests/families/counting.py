import jax

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import abstract_params
from jaxbert.nn.head import Head


def num_parameters(config: EncoderConfig, head: Head | None = None) -> int:
    """Elements of a model without the padding of its vocabulary."""
    padding = (config.padded_vocab_size - config.vocab_size) * config.embedding_width
    leaves = jax.tree.leaves(abstract_params(config, head or Head()))
    return sum(leaf.size for leaf in leaves) - padding
