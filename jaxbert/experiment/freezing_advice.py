"""What to freeze with how little data: advice that is printed and never applied."""

import math

from jaxbert.experiment.recipes import FEW_EXAMPLES
from jaxbert.experiment.settings import TrainingSettings

_VERY_FEW = 1_000


def freezing_advice(
    num_examples: int, num_layers: int, settings: TrainingSettings
) -> tuple[str, ...]:
    """A line for the one who starts a run with so little data; none where nothing is to say.

    Nothing is said to one who has chosen what is trained how fast.
    """
    if num_examples >= FEW_EXAMPLES or _has_chosen(settings):
        return ()
    few = f"advice, not applied: for {num_examples:,} examples"
    decay = "optimizer.layer_decay=0.95"
    if num_examples >= _VERY_FEW:
        return (f"{few} try {decay} (Sun et al. 2019, section 5.3.3, arXiv 1905.05583)",)
    frozen = num_layers - math.ceil(num_layers / 4)
    lowest = f"optimizer.freeze_layers={frozen} (Lee et al. 2019, arXiv 1911.03090), "
    return (
        f"{few} try {lowest if frozen else ''}{decay} (Sun et al. 2019, arXiv 1905.05583) or "
        "reinitialize_layers=1 (Zhang et al. 2021, arXiv 2006.05987), and compare seeds",
    )


def _has_chosen(settings: TrainingSettings) -> bool:
    optimizer = settings.optimizer
    return (
        bool(optimizer.freeze or optimizer.groups)
        or optimizer.freeze_layers is not None
        or optimizer.layer_decay != 1.0
        or settings.unfreezing is not None
    )
