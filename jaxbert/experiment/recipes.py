"""What the papers fine-tuned their models with: a table of published values, by family and size.

Where a paper gives a list to search, one value of it stands here, and `searched` has the list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig

FEW_EXAMPLES = 10_000
"""Below: what the papers do for GLUE's small sets (RTE, MRPC, STS-B and CoLA have 2 to 9
thousand examples, all others 67 thousand and more)."""

Values = Mapping[str, Any]
"""Dotted keys of a configuration and their values."""


Grid = Mapping[str, Sequence[float]]
"""Dotted keys and what each was to be, with every combination tried."""


@dataclass(frozen=True)
class Published:
    """Values, and where they stand."""

    source: str
    values: Values


@dataclass(frozen=True)
class Recipe:
    """How a family was fine-tuned, in one of its sizes."""

    model_types: tuple[str, ...]
    usual: Published
    searched: str = ""
    """What the paper chose from, and what it leaves open."""
    few: Published | None = None
    """Instead, with fewer than `FEW_EXAMPLES`."""
    questions: Published | None = None
    """Instead, for question answering."""
    grid: Grid = field(default_factory=dict)
    """Of `searched`, what can be searched in the same way around `usual`."""
    hidden_size: int | None = None
    """None: any."""
    least_hidden_size: int = 0
    least_layers: int = 0

    def fits(self, encoder: EncoderConfig) -> bool:
        """Whether it is for this family and size."""
        return (
            encoder.model_type in self.model_types
            and self.hidden_size in (None, encoder.hidden_size)
            and encoder.hidden_size >= self.least_hidden_size
            and encoder.num_hidden_layers >= self.least_layers
        )


def recipe_of(encoder: EncoderConfig) -> Recipe:
    """The first that fits; UserError where there is none for the family."""
    for recipe in RECIPES:
        if recipe.fits(encoder):
            return recipe
    known = sorted({name for recipe in RECIPES for name in recipe.model_types})
    raise UserError(
        f"recipe=auto: none is known for {encoder.model_type!r} models ({', '.join(known)} have "
        "one): leave recipe out, and give optimizer.learning_rate and num_epochs"
    )


def _values(
    learning_rate: float, epochs: int, batch_size: int, warmup: float, **optimizer: float
) -> dict[str, Any]:
    return {
        "num_epochs": epochs,
        "batch_size": batch_size,
        "optimizer.learning_rate": learning_rate,
        **{f"optimizer.{name}": value for name, value in optimizer.items()},
        "schedule.kind": "linear",
        "schedule.warmup_steps": warmup,
    }


_DEVLIN = "Devlin et al. 2018, appendix A.3 (arXiv 1810.04805)"
_BERT_GRID = (
    "rates 2e-5, 3e-5, 5e-5, batches 16, 32, epochs 2, 3, 4; warm-up is that of the authors' code"
)
_BERT_AXES = {
    "optimizer.learning_rate": (2e-5, 3e-5, 5e-5),
    "batch_size": (16, 32),
    "num_epochs": (2, 3, 4),
}
_LIU_AXES = {"optimizer.learning_rate": (1e-5, 2e-5, 3e-5), "batch_size": (16, 32)}
_MOSBACH = Published(
    "Mosbach et al. 2021, section 6 (arXiv 2006.04884)",
    _values(2e-5, 20, 16, 0.1, weight_decay=0.01) | {"optimizer.bias_correction": True},
)
_BERT_SQUAD = Published(
    "Devlin et al. 2018, section 4.2 (arXiv 1810.04805)",
    _values(5e-5, 3, 32, 0.1, weight_decay=0.01),
)


def _bert(rate: float) -> Published:
    return Published(_DEVLIN, _values(rate, 3, 32, 0.1, weight_decay=0.01))


def _roberta(model_types: Sequence[str], rate: float, least: int, source: str) -> Recipe:
    shared: dict[str, float] = {"b2": 0.98, "eps": 1e-6}
    return Recipe(
        tuple(model_types),
        Published(source, _values(rate, 10, 32, 0.06, weight_decay=0.1, **shared)),
        "rates 1e-5, 2e-5, 3e-5, batches 16, 32, at most 10 epochs with early stopping "
        "(loop.early_stopping_patience)",
        grid=_LIU_AXES,
        questions=Published(source, _values(1.5e-5, 2, 48, 0.06, weight_decay=0.01, **shared)),
        least_hidden_size=least,
    )


def _electra(rate: float, decay: float, least: int) -> Recipe:
    source = "Clark et al. 2020, appendix B (arXiv 2003.10555)"
    shared: dict[str, float] = {"weight_decay": 0.0, "layer_decay": decay}
    return Recipe(
        ("electra",),
        Published(source, _values(rate, 3, 32, 0.1, **shared)),
        "10 epochs were for RTE and STS-B; layer l of L has decay^(L - l + 1) here, in the "
        "authors' code one power more",
        few=Published(source, _values(rate, 10, 32, 0.1, **shared)),
        questions=Published(source, _values(rate, 2, 32, 0.1, **shared)),
        least_hidden_size=least,
    )


def _deberta(rate: float, epochs: int, least: int, least_layers: int = 0) -> Recipe:
    source = (
        "He et al. 2021, appendix (arXiv 2111.09543), and the authors' scripts for MNLI and MRPC "
        "(github.com/microsoft/DeBERTa, experiments/glue)"
    )
    return Recipe(
        ("deberta-v2",),
        Published(source, _values(rate, epochs, 64, 0.05, weight_decay=0.01)),
        "rates 5e-6 to 1e-5 (large), 1.5e-5 to 4e-5 (base), batches 16, 32, 64, at most 10 epochs, "
        "warm-up of 50 to 1,000 steps, here as a share; task.classifier_dropout 0, 0.15, 0.3",
        few=Published(source, _values(rate, 6, 32, 0.05, weight_decay=0.01)),
        least_hidden_size=least,
        least_layers=least_layers,
    )


def _first_deberta(
    rate: float, few_rate: float, few_epochs: int, least: int, least_layers: int = 0
) -> Recipe:
    source = (
        "the authors of DeBERTa (He et al. 2021, arXiv 2006.03654; github.com/microsoft/DeBERTa, "
        "experiments/glue, mnli.sh and mrpc.sh)"
    )
    return Recipe(
        ("deberta",),
        Published(source, _values(rate, 3, 64, 0.05, weight_decay=0.01)),
        "MNLI's values, or with few examples MRPC's, the warm-up of 1,000 or 50 steps as a share; "
        "task.classifier_dropout 0.1 (base), 0.2, 0.3 (xlarge), with few examples 0.15, 0.3",
        few=Published(source, _values(few_rate, few_epochs, 32, 0.07, weight_decay=0.01)),
        least_hidden_size=least,
        least_layers=least_layers,
    )


def _modernbert(rate: float, decay: float, least: int) -> Recipe:
    source = "Warner et al. 2024, appendix E.1 (arXiv 2412.13663)"
    shared: dict[str, float] = {"weight_decay": decay, "b2": 0.98, "eps": 1e-6}
    return Recipe(
        ("modernbert",),
        Published(source, _values(rate, 2, 64, 0.1, **shared)),
        "rates 1e-5 to 8e-5, decays 1e-6 to 1e-5, epochs 1 to 3 or 2 to 10 by task; warm-up is "
        "not said, and is BERT's here",
        few=Published(source, _values(rate, 5, 64, 0.1, **shared)),
        least_hidden_size=least,
    )


_LIU = "Liu et al. 2019, table 10 (arXiv 1907.11692)"
_LIKE_ROBERTA = f"{_LIU}, whose architecture and pretraining it shares"
_SONG = (
    "the authors of MPNet (Song et al. 2020, arXiv 2004.09297; github.com/microsoft/MPNet, "
    "MPNet/README.glue.md and README.squad.md)"
)
_SONG_ADAM: dict[str, float] = {"b2": 0.98, "eps": 1e-6}
_SHOEYBI = "Shoeybi et al. 2019, table 6 (arXiv 1909.08053)"
_LAN = "Lan et al. 2019, appendix A.4 (arXiv 1909.11942)"

RECIPES: tuple[Recipe, ...] = (
    Recipe(
        ("bert",),
        Published(
            "Jiao et al. 2020, section 4.2 (TinyBERT, arXiv 1909.10351)",
            _values(3e-5, 3, 32, 0.1, weight_decay=0.01),
        ),
        "rates 1e-5, 2e-5, 3e-5, batches 16, 32, for learning from a teacher; without one nothing "
        "is published; warm-up and decay are BERT's",
        grid=_LIU_AXES,
        hidden_size=312,
    ),
    Recipe(
        ("bert",),
        Published(
            "the authors of MiniLM (github.com/microsoft/unilm, minilm/README.md)",
            _values(4e-5, 4, 32, 0.1, weight_decay=0.01),
        ),
        "rate and epochs are those for SQuAD 2.0; batch, warm-up and decay are BERT's",
        hidden_size=384,
    ),
    Recipe(
        ("bert",),
        _bert(2e-5),
        _BERT_GRID,
        few=_MOSBACH,
        questions=_BERT_SQUAD,
        grid=_BERT_AXES,
        least_hidden_size=1024,
    ),
    Recipe(
        ("bert",),
        _bert(3e-5),
        _BERT_GRID,
        few=_MOSBACH,
        questions=_BERT_SQUAD,
        grid=_BERT_AXES,
        least_hidden_size=768,
        least_layers=12,
    ),
    Recipe(
        ("bert",),
        Published(
            "Turc et al. 2019 (arXiv 1908.08962), as github.com/google-research/bert gives it",
            _values(1e-4, 4, 32, 0.1, weight_decay=0.01),
        ),
        "rates 3e-5, 5e-5, 1e-4, 3e-4, batches 8 to 128; warm-up is that of the authors' code",
        grid={
            "optimizer.learning_rate": (3e-5, 5e-5, 1e-4, 3e-4),
            "batch_size": (8, 16, 32, 64, 128),
        },
    ),
    Recipe(
        ("distilbert",),
        Published(f"{_DEVLIN}, for BERT", _values(3e-5, 3, 32, 0.1, weight_decay=0.01)),
        "Sanh et al. 2019 (arXiv 1910.01108) print no values of their own",
    ),
    _roberta(["roberta"], 1e-5, 1024, _LIU),
    _roberta(["roberta"], 2e-5, 0, f"{_LIU}, for the large one"),
    _roberta(["xlm-roberta", "camembert"], 1e-5, 1024, _LIKE_ROBERTA),
    _roberta(["xlm-roberta", "camembert"], 2e-5, 0, _LIKE_ROBERTA),
    _roberta(["xlm-roberta-xl", "jina_embeddings_v3"], 1e-5, 0, f"{_LIU}, for RoBERTa's large one"),
    _roberta(
        ["roberta-prelayernorm"],
        1e-5,
        0,
        f"{_LIU}, whose decay and betas Wettig et al. 2023 (arXiv 2202.08005) keep",
    ),
    _roberta(["data2vec-text"], 2e-5, 0, f"{_LIU}, for the large one, whose layers it has"),
    Recipe(
        ("mpnet",),
        Published(_SONG, _values(1e-5, 10, 32, 0.06, weight_decay=0.1, **_SONG_ADAM)),
        "MNLI's values, or with few examples RTE's and STS-B's (MRPC's and CoLA's rate is 1e-5); "
        "SQuAD's rate falls to zero in 5,430 updates, which are two epochs of its 2.0",
        few=Published(_SONG, _values(2e-5, 10, 16, 0.06, weight_decay=0.1, **_SONG_ADAM)),
        questions=Published(_SONG, _values(2e-5, 2, 48, 0.06, weight_decay=0.01, **_SONG_ADAM)),
    ),
    Recipe(
        ("megatron-bert",),
        Published(_SHOEYBI, _values(1e-5, 10, 128, 0.065, weight_decay=0.1)),
        "MNLI's values and SQuAD 2.0's (QQP: 5e-5, 12 epochs); warm-up and decay are those of the "
        "authors' script for MNLI (github.com/NVIDIA/Megatron-LM)",
        questions=Published(_SHOEYBI, _values(3e-5, 2, 48, 0.065, weight_decay=0.1)),
    ),
    Recipe(
        ("ernie",),
        Published(f"{_DEVLIN}, for BERT", _values(3e-5, 3, 32, 0.1, weight_decay=0.01)),
        "BERT's values, whose architecture it has",
        grid=_BERT_AXES,
    ),
    Recipe(
        ("albert",),
        Published(_LAN, _values(3e-5, 3, 128, 0.1, weight_decay=0.01)),
        "MNLI's values, or with few examples MRPC's rate and CoLA's epochs; by task rates 1e-5 to "
        "5e-5, batches 16 to 128, 3 to 10 epochs as steps",
        few=Published(_LAN, _values(2e-5, 10, 32, 0.1, weight_decay=0.01)),
        questions=Published(_LAN, _values(5e-5, 2, 48, 0.1, weight_decay=0.01)),
    ),
    _electra(5e-5, 0.9, 1024),
    _electra(1e-4, 0.8, 768),
    _electra(3e-4, 0.8, 0),
    _first_deberta(5e-6, 7e-6, 8, 1024, 48),
    _first_deberta(1e-5, 7e-6, 6, 1024),
    _first_deberta(3e-5, 2e-5, 6, 0),
    _deberta(3e-6, 3, 1536, 48),
    _deberta(4e-6, 3, 1536),
    _deberta(7e-6, 2, 1024),
    _deberta(1.5e-5, 3, 768, 12),
    _deberta(4.5e-5, 2, 0),
    _modernbert(3e-5, 1e-5, 1024),
    _modernbert(5e-5, 5e-6, 0),
    Recipe(
        ("eurobert",),
        Published(
            "Boizard et al. 2025 (arXiv 2503.05500), its evaluation",
            _values(3e-5, 3, 32, 0.1),
        ),
        "ten rates from 1e-5 to 1e-4, for 10,000 steps with early stopping; 3 epochs here",
    ),
    Recipe(
        ("nomic_bert",),
        Published(
            "the authors' settings (github.com/nomic-ai/contrastors, configs/train/glue.yaml)",
            _values(3e-5, 10, 16, 0.06, weight_decay=1e-6, b2=0.98, eps=1e-6),
        ),
        "the file is of CoLA; for other tasks rate and batch were given on the command line",
    ),
    Recipe(
        ("gte",),
        Published(f"{_DEVLIN}, for BERT", _values(3e-5, 3, 32, 0.1, weight_decay=0.01)),
        "BERT's values; those of Zhang et al. 2024 (arXiv 2407.19669) for GLUE are not here",
    ),
    Recipe(
        ("esm",),
        Published(f"{_DEVLIN}, for BERT", _values(3e-5, 3, 32, 0.1, weight_decay=0.01)),
        "BERT's values; Lin et al. 2022 (ESM-2) print none for fine-tuning on labels",
    ),
)

_SOURCES = {
    published.source
    for recipe in RECIPES
    for published in (recipe.usual, recipe.few, recipe.questions)
    if published is not None
}


def check_recipe(name: str | None) -> None:
    """Raises UserError for what is neither `auto` nor the source of a recipe."""
    if name not in {None, "auto", *_SOURCES}:
        raise UserError(f"recipe={name!r}: expected auto, or leave it out")
