"""What validation data fix of a task when its training is over, such as thresholds."""

import jax

from jaxbert.data.stream import evaluation_batches
from jaxbert.experiment.artifacts import TrainedModel
from jaxbert.experiment.fit import Evaluation
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.nn.functional import make_apply
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import row_shards, shardings
from jaxbert.tasks.task import Task
from jaxbert.training.evaluation import predict
from jaxbert.training.step import jit_evaluation_step, make_prediction_step


def tuned(
    made: TrainedModel, task: Task, held_out: Evaluation, settings: TrainingSettings
) -> tuple[TrainedModel, dict[str, float]]:
    """The model with the head as validation data fix it, and `eval_tuned_...`: its metrics.

    Predicts on the devices of this process alone, since it alone has the parameters.
    """
    if held_out.tune is None:
        return made, {}
    is_alone = jax.process_count() == 1
    mesh = make_mesh(settings.mesh if is_alone else MeshConfig(), jax.local_devices())
    shards = row_shards(mesh)
    batch_size = -(-settings.rows_per_evaluation() // shards) * shards
    params = jax.device_put(made.params, shardings(made.params, mesh))
    apply = make_apply(made.encoder, made.head, settings.compute_dtype())
    step = jit_evaluation_step(make_prediction_step(apply, task), params, mesh)
    batches = evaluation_batches(held_out.rows, batch_size)
    final, metrics = held_out.tune(predict(step, params, batches, mesh))
    named = {f"eval_tuned_{name}": value for name, value in metrics.items()}
    return TrainedModel(made.params, made.encoder, final.head), named
