"""The architecture of a model, without its weights."""

from os.path import expanduser
from pathlib import Path

from jaxbert.families import FAMILIES, preset
from jaxbert.hub.adapter import FILE as ADAPTER
from jaxbert.hub.adapter import read_adapter
from jaxbert.hub.config_file import FILE as CONFIG
from jaxbert.hub.config_file import read_description
from jaxbert.hub.source import SMALL, find_model
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head
from jaxbert.text.download import download


def architecture_of(name: str) -> tuple[EncoderConfig, list[str]]:
    """From config.json alone; of a published model that is not here, the preset of that name.

    `name`: what `hub.load.open_params` takes. Second: what had to be assumed.
    """
    path = Path(expanduser(name))
    is_here = path.exists() or path.with_name(f"{path.name}.index").is_file()
    short = path.name.lower()
    if not is_here and short in {name for f in FAMILIES.values() for name in f.presets}:
        return preset(short), [f"{name} is not here: its published architecture"]
    directory = path if is_here else download(name, SMALL)
    if (directory / ADAPTER).is_file() and not (directory / CONFIG).is_file():
        return architecture_of(read_adapter(directory).base)
    if is_here:
        directory = find_model(name).directory
    return read_description(directory, head=Head()).config, []
