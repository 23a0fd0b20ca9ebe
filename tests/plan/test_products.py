"""Products counted from compiled text, against programs whose count is known."""

import jax
import jax.numpy as jnp
import pytest

from jaxbert.plan.hlo import Program
from jaxbert.plan.pallas import pallas_kernels, undeclared
from jaxbert.plan.products import custom_calls, product_flops

WIDTH, ROWS, STEPS = 32, 8, 4


def compiled(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return Program.parse(jax.jit(function).lower(*arguments).compile().as_text())


def test_products_inside_loops_count_as_often_as_they_run():
    def loss(weights, x):
        def layer(carry, _):
            return jnp.tanh(carry @ weights), None

        return jax.lax.scan(layer, x, None, length=STEPS)[0].sum()

    program = compiled(jax.grad(loss), (WIDTH, WIDTH), (ROWS, WIDTH))
    assert not program.unknown_loops
    forward = STEPS * 2 * ROWS * WIDTH * WIDTH
    assert product_flops(program) == 3 * forward


def test_a_loop_that_ends_by_its_values_counts_once_and_is_reported():
    def halve(x):
        return jax.lax.while_loop(lambda y: y.sum() > 1.0, lambda y: y @ y, x)

    program = compiled(halve, (WIDTH, WIDTH))
    assert len(program.unknown_loops) == 1
    assert product_flops(program) == 2 * WIDTH**3


def test_batched_products():
    def scores(queries, keys):
        return jnp.einsum("bqhd,bkhd->bhqk", queries, keys)

    program = compiled(scores, (2, 16, 4, 8), (2, 16, 4, 8))
    assert product_flops(program) == 2 * 2 * 4 * 16 * 16 * 8


# As the compiler for TPUs writes them. 512 x 128 by 128 x 128; then, batched as dilation, for each
# of 4 x 2 heads 128 x 64 by 64 x 128: of the 4 x 2 places of the kernel only one meets an element.
CONVOLUTIONS = {
    """  %p0 = bf16[4,128,128]{2,1,0:T(8,128)(2,1)} parameter(0)
  %p1 = bf16[128,128,1]{1,0,2:T(8,128)(2,1)} parameter(1)
  ROOT %c = bf16[4,128,128]{2,1,0} convolution(%p0, %p1), window={size=1}, dim_labels=0bf_io0->0bf
""": 2 * 512 * 128 * 128,
    """  %p0 = bf16[4,2,128,64]{3,2,1,0} parameter(0)
  %p1 = bf16[4,128,2,64]{3,2,1,0} parameter(1)
  ROOT %c = f32[4,2,128,128]{3,2,1,0} convolution(%p0, %p1), window={size=4x2 stride=3x1 \
lhs_dilate=4x2}, dim_labels=01bf_0o1i->01bf
""": 2 * 8 * 128 * 128 * 64,
    # Padding that is multiplied by nothing: a kernel of 3 slides over 5, with 1 on both sides.
    """  %p0 = f32[1,5,1]{2,1,0} parameter(0)
  %p1 = f32[3,1,1]{2,1,0} parameter(1)
  ROOT %c = f32[1,5,1]{2,1,0} convolution(%p0, %p1), window={size=3 pad=1_1}, \
dim_labels=b0f_0io->b0f
""": 2 * (2 + 3 + 3 + 3 + 2),
}


@pytest.mark.parametrize(("body", "flops"), CONVOLUTIONS.items())
def test_products_written_as_convolutions(body, flops):
    text = f"ENTRY %main (p0: f32[1], p1: f32[1]) -> f32[1] {{\n{body}}}\n"
    assert product_flops(Program.parse(text)) == flops


def test_cycles_of_which_the_cost_model_knows_nothing_are_not_counted():
    text = """ENTRY %main (p0: f32[8]) -> f32[8] {
  %p0 = f32[8]{0} parameter(0)
  %a = f32[8]{0} add(%p0, %p0), backend_config={"estimated_cycles":"9223372036854775807"}
  ROOT %b = f32[8]{0} add(%a, %a), backend_config={"estimated_cycles":"12"}
}
"""
    program = Program.parse(text)
    assert [each.estimated_cycles for _, each, _ in program.scheduled()] == [None, None, 12]


def test_kernels_that_are_not_looked_into_are_listed():
    text = """ENTRY %main (p0: f32[8]) -> f32[8] {
  %p0 = f32[8]{0} parameter(0)
  %k = f32[8]{0} custom-call(%p0), custom_call_target="tpu_custom_call"
  ROOT %l = f32[8]{0} custom-call(%k), custom_call_target="tpu_custom_call"
}
"""
    assert custom_calls(Program.parse(text)) == {"tpu_custom_call": 2}


@pytest.mark.parametrize(
    "estimate", ['"flops":"70","other":"1"', '"bytes_accessed":"1","flops":"70"']
)
def test_pallas_kernels_count_for_the_flops_that_they_declare(estimate: str):
    call = 'custom-call(%p0), custom_call_target="tpu_custom_call"'
    declared = f'backend_config={{"custom_call_config":{{"cost_estimate":{{{estimate}}}}}}}'
    text = f"""ENTRY %main (p0: f32[8]) -> f32[8] {{
  %p0 = f32[8]{{0}} parameter(0)
  %fused_forward.3 = f32[8]{{0}} {call}, {declared}
  %fused_forward = f32[8]{{0}} {call}, {declared}
  ROOT %other.12 = f32[8]{{0}} {call}
}}
"""
    program = Program.parse(text)
    assert product_flops(program) == 140
    assert undeclared(program) == 1
    assert pallas_kernels(program) == ["fused_forward", "other"]
