"""What a device holds of the state, from the memory that a compiler reserves for a step."""

import jax
from test_planned_step import CHIPS, EMBEDDINGS, KERNELS, PARAMETERS, ROWS, VALUES

from jaxbert.config import parse_config
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.plan.collectives import collectives_of
from jaxbert.plan.compilation import compile_step
from jaxbert.plan.hlo import Program
from jaxbert.plan.subject import subject_of

OVERRIDES = (
    *("dtype=float32", "step.shard_optimizer=true"),
    # Less to compile.
    *("model.overrides.hidden_dropout_prob=0", "model.overrides.attention_probs_dropout_prob=0"),
)


def test_a_device_keeps_one_part_in_n_of_the_optimisers_state():
    overrides = (*OVERRIDES, "averaging.decay=0.999")
    subject = subject_of(parse_config(Pretrain, VALUES, overrides))
    step = compile_step(subject, 0, make_mesh(MeshConfig(), jax.devices()[:CHIPS]))
    reserved = step.compiled.memory_analysis().argument_size_in_bytes
    # Of what does not divide, two biases and a few counts, a device keeps the whole.
    moments_and_average = 3 * 4 * PARAMETERS / CHIPS
    batch = sum(array.nbytes for array in subject.phases[0].make_batch(ROWS).values())
    assert 0 <= reserved - (4 * PARAMETERS + moments_and_average + batch) < 200


def test_what_is_split_over_tensor_is_never_put_together_over_it():
    """Kernels were gathered over `tensor` before they were over `fsdp`, and so their gradients."""
    subject = subject_of(parse_config(Pretrain, VALUES, OVERRIDES[:1]))
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), jax.devices()[:CHIPS])
    program = Program.parse(compile_step(subject, 0, mesh).compiled.as_text())
    found = collectives_of(program, dict(mesh.shape))
    assert [each.axes for each in found if each.kind == "all-gather"] == [("fsdp",)]
    [scattered] = [each for each in found if each.kind == "reduce-scatter"]
    assert scattered.axes == ("fsdp",)
    # Of kernels and tables, which are split over tensor already, the halves; others are not.
    whole = 4 * (KERNELS + EMBEDDINGS)
    assert whole / 2 < scattered.num_bytes < 0.75 * whole
