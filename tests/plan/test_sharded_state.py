"""What a device holds of the state, from the memory that a compiler reserves for a step."""

import jax
from test_planned_step import CHIPS, PARAMETERS, ROWS, VALUES

from jaxbert.config import parse_config
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.plan.compilation import compile_step
from jaxbert.plan.subject import subject_of

OVERRIDES = (
    *("dtype=float32", "step.shard_optimizer=true"),
    # Less to compile.
    *("model.overrides.hidden_dropout_prob=0", "model.overrides.attention_probs_dropout_prob=0"),
)


def test_a_device_keeps_one_part_in_n_of_the_optimisers_state():
    subject = subject_of(parse_config(Pretrain, VALUES, OVERRIDES))
    step = compile_step(subject, 0, make_mesh(MeshConfig(), jax.devices()[:CHIPS]))
    reserved = step.compiled.memory_analysis().argument_size_in_bytes
    # Of what does not divide, two biases and a few counts, a device keeps the whole.
    moments = 2 * 4 * PARAMETERS / CHIPS
    batch = sum(array.nbytes for array in subject.phases[0].make_batch(ROWS).values())
    assert 0 <= reserved - (4 * PARAMETERS + moments + batch) < 200
