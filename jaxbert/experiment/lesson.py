"""What the steps of a run compute: its model and its task, with what is added to either."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxbert.experiment.settings import TrainingSettings
from jaxbert.experiment.teacher import Teacher
from jaxbert.experiment.trainee import Trainee
from jaxbert.parallel.rules import shardings
from jaxbert.tasks.adversarial import Adversarial, AdversarialApply
from jaxbert.tasks.distillation import Distillation, TaughtApply, Teachable
from jaxbert.tasks.finetuning import LabelledTask
from jaxbert.tasks.r_drop import RDrop, TwiceApply
from jaxbert.tasks.task import Task
from jaxbert.training.step import gathering
from jaxbert.typing import Params


class Lesson(NamedTuple):
    """A model and an objective as steps know them."""

    apply: Callable[..., Any]
    task: Task
    fixed: tuple[Params, ...] = ()
    """Abstract, with shardings: parameters that `apply` takes after those that are trained."""


def lesson(
    apply: Callable[..., Any],
    task: Task,
    trainee: Trainee,
    settings: TrainingSettings,
    mesh: Mesh,
) -> Lesson:
    """`apply` and the task themselves, or around them what the trainee's configuration asks for."""
    found, regularisation = Lesson(apply, task), trainee.regularisation
    if trainee.teacher is not None:
        found = _taught(found, trainee.teacher, settings, mesh)
    if regularisation is None:
        return found
    if (weight := regularisation.r_drop) is not None:
        assert isinstance(found.task, Teachable)
        return found._replace(apply=TwiceApply(found.apply), task=RDrop(found.task, weight))
    if (config := regularisation.adversarial) is not None:
        assert isinstance(task, LabelledTask)
        moving = AdversarialApply(apply, task, config.epsilon)
        return Lesson(moving, Adversarial(task, config))
    return found


def _taught(lesson: Lesson, teacher: Teacher, settings: TrainingSettings, mesh: Mesh) -> Lesson:
    """The teacher's `apply` beside the student's."""
    assert isinstance(lesson.task, Teachable)
    own = gathering(teacher.make_apply(settings.compute_dtype(), settings.execution), mesh)
    if not teacher.head.predicts_tokens:
        own = _without_predictions(own)
    placed = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        teacher.shapes,
        shardings(teacher.shapes, mesh),
    )
    return Lesson(
        TaughtApply(lesson.apply, own, teacher.config.capture),
        Distillation(lesson.task, teacher.config),
        (placed,),
    )


def _without_predictions(apply: Callable[..., Any]) -> Callable[..., Any]:
    """`apply` of a model that predicts no words, where the student may."""

    def encode(params: Params, *, masked_lm_positions: Any = None, **inputs: Any) -> Any:
        return apply(params, **inputs)

    return encode
