"""Where cycles go, of a text that is counted by hand."""

import pytest

from jaxbert.plan.hlo import Program
from jaxbert.plan.sources import Operation, most_expensive

TABLES = """HloModule jit_train_step

FileNames
1 "/home/somebody/jaxbert/jaxbert/plan/compilation.py"
2 "/home/somebody/jaxbert/jaxbert/nn/mlp.py"
3 "/home/somebody/jaxbert/jaxbert/nn/linear.py"
4 "/usr/lib/python3/site-packages/jax/numpy.py"
5 "/home/somebody/jaxbert/jaxbert/training/step.py"

FunctionNames
1 "compile_step"

FileLocations
1 {file_name_id=1 function_name_id=1 line=107 end_line=107 column=14 end_column=14}
2 {file_name_id=2 function_name_id=1 line=31 end_line=31 column=4 end_column=4}
3 {file_name_id=3 function_name_id=1 line=39 end_line=39 column=4 end_column=4}
4 {file_name_id=4 function_name_id=1 line=8 end_line=8 column=4 end_column=4}
5 {file_name_id=3 function_name_id=1 line=20 end_line=20 column=4 end_column=4}
6 {file_name_id=5 function_name_id=1 line=90 end_line=90 column=4 end_column=4}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=5 parent_frame_id=3}
4 {file_location_id=3 parent_frame_id=4}
5 {file_location_id=4 parent_frame_id=5}
6 {file_location_id=6 parent_frame_id=2}

"""
CALL = "custom-call(%p), custom_call_target="


def line(name, frame, op_name, cycles):
    config = f', backend_config={{"estimated_cycles":"{cycles}"}}' if cycles else ""
    metadata = f'metadata={{op_name="{op_name}" stack_frame_id={frame}}}'
    return f"  %{name} = f32[8]{{0}} fusion(%p), kind=kLoop, {metadata}{config}"


PROGRAM = f"""{TABLES}ENTRY %main (p: f32[8]) -> f32[8] {{
  %p = f32[8]{{0}} parameter(0)
{line("a", 5, "jit(train_step)/jvp()/dot_general", 30)}
{line("b", 5, "jit(train_step)/jvp()/add", 12)}
{line("c", 5, "jit(train_step)/transpose(jvp())/dot_general", 40)}
{line("d", 6, "jit(train_step)/add", 5)}
{line("e", 6, "jit(train_step)/add", None)}
  %k = f32[8]{{0}} {CALL}"tpu_custom_call", frontend_attributes={{kernel_metadata={{
"xprof_metadata":"{{\\"block_q\\": 512}}"
}}}}, metadata={{op_name="jvp()/splash" stack_frame_id=2}}
}}
"""
LINEAR, MLP = "jaxbert/nn/linear.py:39", "jaxbert/nn/mlp.py:31"


@pytest.mark.parametrize("one_less", [True, False])
def test_a_line_has_the_cycles_of_its_fusions_and_the_file_that_called_it(one_less):
    # Some versions number parents from 1 where 1 is none, others leave none out.
    text = PROGRAM if one_less else PROGRAM.replace("_id=1 parent_frame_id=1}", "_id=1}")
    if not one_less:
        for child in (2, 3, 4, 5):
            text = text.replace(f"parent_frame_id={child}}}", f"parent_frame_id={child - 1}}}")
    found = most_expensive(Program.parse(text), {"k": 41.0}, 10)
    prefix = "jit(train_step)/"
    assert found == [
        Operation(LINEAR, MLP, "forward", f"{prefix}jvp()/dot_general", 2, 42),
        Operation(MLP, "", "forward", "jvp()/splash", 1, 41),
        Operation(LINEAR, MLP, "backward", f"{prefix}transpose(jvp())/dot_general", 1, 40),
        Operation("jaxbert/training/step.py:90", "", "update", f"{prefix}add", 1, 5),
    ]
    assert most_expensive(Program.parse(text), {}, 1) == found[:1]


def test_a_line_that_is_written_beside_the_operation_has_no_caller():
    text = PROGRAM.replace("stack_frame_id=5", 'source_file="/a/jaxbert/nn/mlp.py" source_line=9')
    found = most_expensive(Program.parse(text), {}, 1)
    assert (found[0].source, found[0].caller) == ("jaxbert/nn/mlp.py:9", "")


FUSIONS = """%product (p: f32[8]) -> f32[8] {
  %m = f32[8]{0} convolution(%p, %p), metadata={op_name="jvp()/dot_general" stack_frame_id=5}
  ROOT %r = f32[8]{0} convert(%m), metadata={op_name="jvp()/convert" stack_frame_id=6}
}

%update (p: f32[8]) -> f32[8] {
  %u = f32[8]{0} multiply(%p), metadata={op_name="mul" stack_frame_id=2}
  %v = f32[8]{0} add(%u), metadata={op_name="add" stack_frame_id=2}
  ROOT %w = f32[8]{0} select(%v), metadata={op_name="select_n" stack_frame_id=6}
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %a = f32[8]{0} fusion(%p), calls=%product, metadata={op_name="jvp()/convert" stack_frame_id=6}, \
x={"estimated_cycles":"9"}
  %b = f32[8]{0} fusion(%p), calls=%update, metadata={op_name="select_n" stack_frame_id=6}, \
x={"estimated_cycles":"7"}
}
"""


def test_a_fusion_comes_from_its_product_or_from_the_line_of_most_that_is_in_it():
    assert most_expensive(Program.parse(TABLES + FUSIONS), {}, 10) == [
        Operation(LINEAR, MLP, "forward", "jvp()/dot_general", 1, 9),
        Operation(MLP, "", "update", "add", 1, 7),
    ]
