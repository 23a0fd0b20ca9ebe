"""The programs of compiled.py: each is compiled for a TPU that is not here.

    python benchmarks/compiled_programs.py CONTENDER ROWS LENGTH TOPOLOGY OUT

CONTENDER is one of jaxbert, flax (a training step of BERT-base: masked LM and next sentence,
dropout 0.1 everywhere, exact GELU, bfloat16, AdamW) and jaxbert_layer, flax_layer (one of its
encoder layers, forward and backward, on one chip). jaxbert+xla is the step with attention by XLA,
jaxbert+attention and jaxbert+products with that and that `execution.remat`; jaxbert_layer+xla,
+fused and +splash name the code of the layer's attention, of which splash drops no weights.
ROWS are of a chip, TOPOLOGY is such as v5e:2x4.
Writes OUT/program.txt and OUT/made.json. Runs wherever jaxbert or transformers 4.57.6 is installed:
nothing is imported that the contender does not need.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

HIDDEN, PREDICTIONS = 768, {128: 20, 512: 76}
ROOT = Path(__file__).resolve().parent.parent
Made = tuple[jax.stages.Compiled, dict[str, Any]]


def main() -> None:
    contender, rows, length, topology, out = sys.argv[1:]
    directory = Path(out)
    before = time.process_time()
    compiled, about = CONTENDERS[contender](int(rows), int(length), topology)
    about["cpu_seconds"] = time.process_time() - before
    found: Any = compiled.memory_analysis()
    about["temporaries"] = found.temp_size_in_bytes
    results = found.output_size_in_bytes - found.alias_size_in_bytes
    held = found.argument_size_in_bytes + results + found.temp_size_in_bytes
    about["peak_memory"] = held + found.generated_code_size_in_bytes
    (directory / "program.txt").write_text(text_of(compiled, directory), encoding="utf-8")
    (directory / "made.json").write_text(json.dumps(about), encoding="utf-8")


def text_of(compiled: jax.stages.Compiled, directory: Path) -> str:
    """The program; of v6e jaxlib 0.10.2 cannot write it, and the compiler's own dump is taken."""
    try:
        return str(compiled.as_text())
    except jax.errors.JaxRuntimeError:
        [written] = directory.glob("dump/*jit_train_step*.after_codegen.txt")
        return written.read_text(encoding="utf-8")


def jaxbert(
    rows: int, length: int, topology: str, remat: str = "none", attention: str = "auto"
) -> Made:
    """What `jaxbert pretrain configs/pretrain/bert_base.yaml step.gradient_dtype=bfloat16` runs.

    Of FlaxBert's gradients XLA exchanges those of bfloat16 kernels in bfloat16 by itself.
    """
    from jaxbert.config import load_config
    from jaxbert.experiment.pretrain import Pretrain
    from jaxbert.plan.chips import topology_of
    from jaxbert.plan.compilation import compile_step, tpu_mesh
    from jaxbert.plan.subject import for_tpu, subject_of

    described = topology_of(topology)
    chips = len(devices_of(topology))
    words = [
        "phases=[]",
        f"batch_size={rows * chips}",
        f"data.max_seq_length={length}",
        f"data.masking.max_predictions={PREDICTIONS[length]}",
        "step.gradient_dtype=bfloat16",
        f"execution.remat={remat}",
        f"execution.attention={attention}",
    ]
    config = load_config(Pretrain, ROOT / "configs/pretrain/bert_base.yaml", words)
    subject = subject_of(for_tpu(config))
    mesh = tpu_mesh(subject, described)
    step = compile_step(subject, 0, mesh)
    flops = subject.trainee.flops(subject.phases[0].make_batch(rows * chips)) / chips
    return step.compiled, {"mesh": dict(mesh.shape), "model_flops": flops}


def flax(rows: int, length: int, topology: str) -> Made:
    """transformers' FlaxBertForPreTraining, trained as its run_mlm_flax.py does, state donated."""
    import flax_recipe
    import optax
    from transformers import BertConfig, FlaxBertForPreTraining

    model = FlaxBertForPreTraining(
        BertConfig(), input_shape=(1, length), dtype=jnp.bfloat16, _do_init=False
    )

    optimizer = flax_recipe.optimizer(1e-4, 1e-8)

    def loss_of(params: Any, batch: Any, key: Any) -> Any:
        inputs = (batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        found = model(*inputs, params=params, dropout_rng=key, train=True)
        masked = flax_recipe.cross_entropy(found.prediction_logits, batch["labels"])
        pairs = optax.softmax_cross_entropy_with_integer_labels(
            found.seq_relationship_logits.astype(jnp.float32), batch["next_sentence_label"]
        )
        return masked + pairs.mean()

    def train_step(params: Any, state: Any, batch: Any, key: Any) -> Any:
        key, dropout_key = jax.random.split(key)
        loss, gradients = jax.value_and_grad(loss_of)(params, batch, dropout_key)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, key, loss

    devices = devices_of(topology)
    mesh = Mesh(devices, ("data",))
    everywhere, by_row = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    texts = ("input_ids", "attention_mask", "token_type_ids", "labels")
    shape = (rows * len(devices), length)
    batch = {name: jax.ShapeDtypeStruct(shape, jnp.int32, sharding=by_row) for name in texts}
    batch["next_sentence_label"] = jax.ShapeDtypeStruct(shape[:1], jnp.int32, sharding=by_row)
    params = model.params_shape_tree
    inputs = abstract((params, jax.eval_shape(optimizer.init, params)), everywhere)
    key = abstract(jax.eval_shape(lambda: jax.random.PRNGKey(0)), everywhere)
    step = jax.jit(train_step, donate_argnums=(0, 1), out_shardings=everywhere)
    return step.lower(*inputs, batch, key).compile(), {"mesh": {"data": len(devices)}}


def jaxbert_layer(rows: int, length: int, topology: str, attention: Any = "auto") -> Made:
    """`EncoderLayer`, with the random bits that a TPU gets."""
    from flax import nnx

    from jaxbert.nn.attention import AttentionInputs
    from jaxbert.nn.config import EncoderConfig
    from jaxbert.nn.examples import Examples
    from jaxbert.nn.kernels import AttentionCall, choose_kernel
    from jaxbert.nn.layer import EncoderLayer
    from jaxbert.nn.placement import Placement, placed

    def make() -> EncoderLayer:
        return EncoderLayer(config, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))

    drops = attention != "splash"
    config = EncoderConfig() if drops else EncoderConfig(attention_probs_dropout_prob=0.0)
    heads, head_dim = config.num_attention_heads, HIDDEN // config.num_attention_heads
    call = AttentionCall(length, heads, head_dim, jnp.bfloat16, drops_weights=drops)
    graph, state = nnx.split(nnx.eval_shape(make))

    def layer(params: Any, x: jax.Array, mask: jax.Array, seed: jax.Array) -> jax.Array:
        key = jax.random.key(seed, impl="rbg")
        examples, kernel = Examples(mask), choose_kernel(attention, call)
        inputs = AttentionInputs(
            examples.attended, kernel=kernel, examples=examples, wants_weights=False
        )
        return nnx.merge(graph, params)(x, inputs, key)[0]

    # So that it is a TPU's program, not that of the platform that traces it.
    with placed(Placement(one_chip(topology), ("data",), "tensor")):
        return of_layer(layer, state, rows, length, topology)


def flax_layer(rows: int, length: int, topology: str) -> Made:
    """`FlaxBertLayer`, with the random bits that JAX draws by default."""
    from transformers import BertConfig
    from transformers.models.bert.modeling_flax_bert import FlaxBertLayer

    module = FlaxBertLayer(BertConfig(), dtype=jnp.bfloat16)

    def layer(params: Any, x: jax.Array, mask: jax.Array, seed: jax.Array) -> jax.Array:
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(params, x, mask, None, deterministic=False, rngs=rngs)[0]

    x, mask = jnp.zeros((1, 8, HIDDEN), jnp.bfloat16), jnp.ones((1, 8), bool)
    params = jax.eval_shape(lambda: module.init(jax.random.key(0), x, mask, None))
    return of_layer(layer, params, rows, length, topology)


def of_layer(
    layer: Callable[..., jax.Array], params: Any, rows: int, length: int, topology: str
) -> Made:
    """The output of a layer, and the gradients of its parameters and its input."""

    def train_step(
        params: Any, x: jax.Array, mask: jax.Array, seed: jax.Array, slope: jax.Array
    ) -> Any:
        output, pull = jax.vjp(lambda params, x: layer(params, x, mask, seed), params, x)
        return output, pull(slope)

    chip = NamedSharding(one_chip(topology), PartitionSpec())
    x = jax.ShapeDtypeStruct((rows, length, HIDDEN), jnp.bfloat16)
    mask, seed = jax.ShapeDtypeStruct((rows, length), bool), jax.ShapeDtypeStruct((), jnp.int32)
    inputs = abstract((params, x, mask, seed, x), chip)
    step = jax.jit(train_step, out_shardings=chip)
    return step.lower(*inputs).compile(), {"mesh": {"data": 1}}


@cache
def devices_of(topology: str) -> Any:
    """Every chip as one device."""
    is_double = topology.startswith(("v4", "v5p"))
    return topologies.get_topology_desc(
        platform="tpu",
        topology_name=topology,
        chip_config_name="megacore" if is_double else "default",
    ).devices


def one_chip(topology: str) -> Mesh:
    """The axes are those that kernels are split along."""
    return Mesh(np.reshape(devices_of(topology)[:1], (1, 1)), ("data", "tensor"))


def abstract(tree: Any, sharding: NamedSharding) -> Any:
    """Shapes and dtypes, lying so."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


CONTENDERS: dict[str, Callable[[int, int, str], Made]] = {
    "jaxbert": jaxbert,
    "jaxbert+xla": partial(jaxbert, attention="xla"),
    "jaxbert+attention": partial(jaxbert, attention="xla", remat="attention"),
    "jaxbert+products": partial(jaxbert, attention="xla", remat="products"),
    "flax": flax,
    "jaxbert_layer": jaxbert_layer,
    "jaxbert_layer+xla": partial(jaxbert_layer, attention="xla"),
    "jaxbert_layer+fused": partial(jaxbert_layer, attention="fused"),
    "jaxbert_layer+splash": partial(jaxbert_layer, attention="splash"),
    "flax_layer": flax_layer,
}

if __name__ == "__main__":
    main()
