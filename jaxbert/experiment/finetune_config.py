"""The configuration of fine-tuning, and what in it does not go together."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from jaxbert.data.reading import Reading, WindowConfig, check_reading
from jaxbert.data.truncation import Truncation
from jaxbert.errors import UserError
from jaxbert.experiment.recipes import check_recipe
from jaxbert.experiment.regularisation import RegularisationConfig
from jaxbert.experiment.settings import TrainingSettings, named_sets
from jaxbert.metrics.multi_label import OF_PREDICTIONS
from jaxbert.nn.dropout_rates import DropoutConfig
from jaxbert.nn.head import Head
from jaxbert.nn.lora import LoRA
from jaxbert.tasks.late_interaction import LateInteractionConfig
from jaxbert.tasks.multiple_choice import MultipleChoiceConfig
from jaxbert.tasks.question_answering import QuestionAnsweringConfig
from jaxbert.tasks.sentence_embedding import SentenceEmbeddingConfig
from jaxbert.tasks.sequence_classification_config import SequenceClassificationConfig
from jaxbert.tasks.sparse_embedding import SparseEmbeddingConfig
from jaxbert.tasks.token_classification import TokenClassificationConfig

TaskSection = (
    SequenceClassificationConfig
    | QuestionAnsweringConfig
    | TokenClassificationConfig
    | MultipleChoiceConfig
    | SentenceEmbeddingConfig
    | SparseEmbeddingConfig
    | LateInteractionConfig
)
"""Every kind of task; `kind` tells them apart."""
TASKS: dict[str, type[TaskSection]] = {
    "sequence_classification": SequenceClassificationConfig,
    "question_answering": QuestionAnsweringConfig,
    "token_classification": TokenClassificationConfig,
    "multiple_choice": MultipleChoiceConfig,
    "late_interaction": LateInteractionConfig,
    "none": SentenceEmbeddingConfig,
    "splade": SparseEmbeddingConfig,
}
"""By the head's kind, which is the task's own but for `none`; by what a masked LM is read for."""


def kind_of(head: Head) -> str:
    """The key of `TASKS`; a kind that is none of them where no task is for the head."""
    return head.kind if head.splade is None else "splade"


@dataclass(frozen=True, kw_only=True)
class Finetune(TrainingSettings):
    """A fine-tuning run."""

    kind: Literal["finetune"] = "finetune"
    recipe: str | None = None
    """auto: what is not given here is as the model's paper has it (`experiment/recipe.py`), and
    max_seq_length is auto, but with packing or windows, which leave it to you (answers to
    questions: always 384); a run's config.yaml names the source instead."""
    model: str
    """Model directory, run directory or hub id."""
    task: TaskSection = field(default_factory=SequenceClassificationConfig)
    """What is learnt, by `kind`."""
    train: str
    """CSV, TSV, JSON lines, Parquet, hf:NAME[/CONFIG][:SPLIT], tfds:NAME[/CONFIG][:SPLIT].

    A pattern ('parts/*.parquet') is the files in sorted order. For question answering also SQuAD's
    JSON, for tagging CoNLL's columns and CoNLL-U."""
    validation: str | dict[str, str] | None = None
    """Evaluated during training; several by name, which goes before the metrics of each."""
    validation_fraction: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Instead of validation: this share of the rows of train is held out of training. Rows of equal
    input, candidates for one text (task.ranking) and questions about one context stay together;
    another seed holds the same rows out."""
    max_seq_length: Annotated[int, Ge(3)] | Literal["auto"] = 128
    """Shorter data make shorter batches; auto: what 95 % of the training examples do not exceed,
    rounded up to a multiple of 8."""
    packing: bool = False
    """Several examples in every row of max_seq_length tokens; `batch_size` counts rows."""
    truncation: Truncation = "head"
    """What is read of a longer text."""
    head_share: float = 0.25
    """Of what truncation=head_tail keeps, the share that is from the head."""
    windows: WindowConfig | None = None
    """Instead of truncation: longer texts are read in windows, and count as much as others."""
    num_epochs: Annotated[float, Gt(0)] = 3.0
    """How often training sees every row; 2.5 ends in the middle of the third time."""
    num_steps: Annotated[int, Ge(1)] | None = None
    """Instead of num_epochs."""
    ignore_mismatched_heads: bool = False
    """Start with a new classifier where the model has one for other labels."""
    reinitialize_layers: Annotated[int, Ge(0)] = 0
    """So many of the top layers, and the pooler, begin anew (Zhang et al. 2021)."""
    dropout: DropoutConfig = field(default_factory=DropoutConfig)
    """Rates of this run, where they are not the model's; the exported model keeps its own."""
    lora: LoRA | None = None
    """Low-rank factors in place of the encoder (Hu et al. 2021); the head is trained as ever. The
    model of the run has them merged in, and RUN/adapter has them as peft does."""
    regularisation: RegularisationConfig | None = None
    """What keeps a model that learns from few examples from fitting them alone."""
    cache_features: bool | str = False
    """Of a frozen encoder (optimizer.freeze_layers=all): true: its outputs are computed once, kept
    in RUN/features, and the head is trained on them; or the directory, which runs may share."""

    def __post_init__(self) -> None:
        length = None if self.max_seq_length == "auto" else self.max_seq_length
        check_reading(self.truncation, self.head_share, self.windows, length)
        if self.validation_fraction and self.validation is not None:
            raise UserError(
                f"validation={self.validation} and validation_fraction={self.validation_fraction}: "
                "leave one of the two out"
            )
        if self.distillation is not None and self.cache_features:
            raise UserError(
                "cache_features: distillation needs the tokens of every step, which cached "
                "features leave out: drop one of them"
            )
        if self.regularisation is not None:
            self._check_regularisation(self.regularisation)
        is_tuned = isinstance(self.task, SequenceClassificationConfig) and (
            self.task.threshold == "tuned"
        )
        if is_tuned and len(self.validation_names) != 1:
            number = len(self.validation_names) or "none"
            raise UserError(
                f"task.threshold=tuned needs validation data of one set, there is {number}"
            )
        if is_tuned:
            self._check_metric_of_tuned()
        if isinstance(self.task, LateInteractionConfig):
            self._check_late_interaction()
        check_recipe(self.recipe)
        if self.lora is not None:
            self._check_lora()

    def _check_regularisation(self, given: RegularisationConfig) -> None:
        """Raises UserError for what has no encoder to act on, or two models in one loss."""
        if self.cache_features:
            raise UserError(
                "cache_features: regularisation acts on the encoder, which cached features leave "
                "out: drop one of them"
            )
        if self.distillation is not None and given.adversarial is not None:
            raise UserError(
                "regularisation.adversarial: what a teacher would say of embeddings that are moved "
                "is not known: drop distillation, or take regularisation.r_drop"
            )

    def _check_late_interaction(self) -> None:
        """Raises UserError for what vectors of tokens are not made for."""
        if self.packing:
            raise UserError(
                "packing=true: late interaction takes a row for every text, whose tokens need not "
                "all be attended to: drop it"
            )
        if self.distillation is not None:
            raise UserError(
                "distillation: what a teacher says of vectors of tokens is not compared: drop it, "
                "or distill the encoder first, in pretraining"
            )

    def _check_lora(self) -> None:
        """Raises UserError for options that ask for another part of the encoder to be trained."""
        if self.reinitialize_layers:
            raise UserError(
                f"reinitialize_layers={self.reinitialize_layers}: with lora such layers would stay "
                "as they are drawn: drop one of them"
            )
        if self.cache_features:
            raise UserError(
                "cache_features: with lora what the encoder computes changes in every step: drop "
                "one of them"
            )
        if self.optimizer.freeze_layers == "all":
            raise UserError(
                "optimizer.freeze_layers=all: lora's factors are in the layers: drop one of them"
            )

    def _check_metric_of_tuned(self) -> None:
        """Raises UserError where checkpoints would be ranked by thresholds that are not kept."""
        [name], metric = self.validation_names, self.checkpoint.metric or ""
        before = f"{name}_" if name else ""
        if metric.removeprefix(before) in OF_PREDICTIONS:
            raise UserError(
                f"checkpoint.metric={metric} is that of thresholds of 0.5, which "
                f"task.threshold=tuned does not keep: take {before}tuned_"
                f"{metric.removeprefix(before)}, or {before}average_precision, which needs no "
                "threshold"
            )

    @property
    def validation_sets(self) -> dict[str, str]:
        """By name; a single one is called ""."""
        return named_sets(self.validation)

    @property
    def validation_names(self) -> tuple[str, ...]:
        """Of all sets that are evaluated, the share of train too."""
        return ("",) if self.validation_fraction else tuple(self.validation_sets)

    @property
    def reading(self) -> Reading:
        """What is read of every text, once max_seq_length is known."""
        assert self.max_seq_length != "auto"
        return Reading(self.max_seq_length, self.truncation, self.head_share, self.windows)
