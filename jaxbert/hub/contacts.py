"""ESM's regression on contacts, which lies in the files of the published models."""

from pathlib import Path

import numpy as np

from jaxbert.errors import UserError
from jaxbert.families.esm import CONTACTS
from jaxbert.hub.description import describe
from jaxbert.hub.formats import open_tensors
from jaxbert.hub.huggingface import canonical_names
from jaxbert.hub.source import find_model
from jaxbert.nn.contacts import ContactHead
from jaxbert.nn.head import Head


def load_contact_head(path_or_hub_id: str | Path, revision: str | None = None) -> ContactHead:
    """For `jaxbert.nn.contacts.predict_contacts`, with the attention weights of that very model.

    Raises UserError where the files hold none.
    """
    source = find_model(path_or_hub_id, revision=revision)
    described = describe(source, head=Head())
    tensors = open_tensors(source.directory, described, source.checkpoint)
    names = canonical_names(described.family, tensors.shapes, source.directory)
    keys = [names.get(f"{CONTACTS}regression.{part}") for part in ("weight", "bias")]
    heads = described.config.num_hidden_layers * described.config.num_attention_heads
    shapes = [None if key is None else tensors.shapes[key] for key in keys]
    if shapes != [(1, heads), (1,)]:
        raise UserError(
            f"{source.directory} holds no {CONTACTS}regression of {heads} heads: expected an ESM "
            "model as it was published; what jaxbert saves has none"
        )
    weight, bias = (np.asarray(tensors.read(key), np.float32)[0] for key in keys if key is not None)
    return ContactHead(weight, bias)
