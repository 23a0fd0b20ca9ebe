"""What keeps fine-tuning on few examples from fitting them alone."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from jaxbert.errors import UserError
from jaxbert.optim.groups import in_encoder
from jaxbert.optim.towards_start import Pull
from jaxbert.options import check_options
from jaxbert.tasks.adversarial import AdversarialConfig


@dataclass(frozen=True)
class RegularisationConfig:
    """What is added to the loss or to the updates of fine-tuning; null: nothing of the kind."""

    r_drop: Annotated[float, Gt(0)] | None = None
    """R-Drop (Liang et al. 2021): every batch is read twice, with other dropout, and so many times
    the divergence of both answers is added to the mean of both losses."""
    towards_start: Annotated[float, Gt(0)] | None = None
    """Decoupled L2-SP (Li et al. 2018): the encoder decays towards the model that the run began
    with by this, times the learning rate, and not towards zero by optimizer.weight_decay. It is
    felt within 1 / (this x the rate) updates."""
    adversarial: AdversarialConfig | None = None
    """Adversarial training (Miyato et al. 2017): every batch is read again with word embeddings
    that are moved to where its loss is larger."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.r_drop is self.towards_start is self.adversarial is None:
            raise UserError(
                "regularisation: nothing is asked for: give r_drop, towards_start or adversarial, "
                "or leave it out"
            )
        if self.r_drop is not None and self.adversarial is not None:
            raise UserError(
                "regularisation: r_drop and adversarial each read a batch twice: give one of them"
            )

    @property
    def passes(self) -> float:
        """How many times the FLOPs of a plain step one needs."""
        if self.adversarial is not None:
            # A third is a forward pass, and a third what it hands down, here to the embeddings.
            return 2 + 1 / 3
        return 1.0 if self.r_drop is None else 2.0

    def pull(self, begun: tuple[str, ...]) -> Pull | None:
        """How strongly a parameter is drawn to where it began.

        `begun`: the beginnings of the paths of layers that are drawn anew, which are drawn to
        nothing, like a head.
        """
        strength = self.towards_start
        if strength is None:
            return None
        return lambda path: strength * (in_encoder(path) and not path.startswith(begun))
