"""Bytes that a program moves, of programs that are counted by hand."""

import pytest

from jaxbert.plan.hlo import Program
from jaxbert.plan.traffic import hbm_bytes

LOOKED_UP = """%look (table: f32[1000,8], ids: s32[4]) -> f32[4,8] {
  %table = f32[1000,8]{1,0} parameter(0)
  %ids = s32[4]{0} parameter(1)
  ROOT %g = f32[4,8]{1,0} gather(%table, %ids), offset_dims={1}
}

%put (all: f32[1000,8], one: f32[1,8], at: s32[]) -> f32[1000,8] {
  %all = f32[1000,8]{1,0} parameter(0)
  %one = f32[1,8]{1,0} parameter(1)
  %at = s32[] parameter(2)
  ROOT %u = f32[1000,8]{1,0} dynamic-update-slice(%all, %one, %at, %at)
}

%begun (whole: s8[4096]) -> s8[64] {
  %whole = s8[4096]{0} parameter(0)
  ROOT %part = s8[64]{0:S(1)} slice(%whole), slice={[64:128]}
}
"""

PROGRAMS = {
    # Two operands, one result; what is in vector memory does not count.
    """  %a = f32[100]{0} parameter(0)
  %b = f32[100]{0:T(128)S(1)} parameter(1)
  ROOT %c = bf16[100]{0} add(%a, %b)
""": 400 + 200,
    # A copy into vector memory reads once, one within HBM reads and writes.
    """  %a = f32[100]{0} parameter(0)
  %s = (f32[100]{0:S(1)}, f32[100]{0}, u32[]{:S(2)}) copy-start(%a)
  %d = f32[100]{0:S(1)} copy-done(%s)
  %t = (f32[100]{0}, f32[100]{0}, u32[]{:S(2)}) copy-start(%a)
  ROOT %e = f32[100]{0} copy-done(%t)
""": 400 + 800,
    # Rows of a table, and a slice put into one.
    """  %a = f32[1000,8]{1,0} parameter(0)
  %i = s32[4]{0} parameter(1)
  %o = f32[1,8]{1,0} parameter(2)
  %n = s32[] parameter(3)
  %f = f32[4,8]{1,0} fusion(%a, %i), kind=kLoop, calls=%look
  ROOT %g = f32[1000,8]{1,0} fusion(%a, %o, %n), kind=kLoop, calls=%put
""": (128 + 16 + 128) + (32 + 4 + 32),
    # A slice fetched into vector memory, as the compiler itself writes it down.
    """  %a = s8[4096]{0} parameter(0)
  %s = ((s8[4096]{0}), s8[64]{0:S(1)}, s32[]{:S(2)}) async-start(%a), calls=%begun
  %u = ((s8[4096]{0}), s8[64]{0:S(1)}, s32[]{:S(2)}) async-update(%s), calls=%begun
  ROOT %d = s8[64]{0:S(1)} async-done(%u), calls=%begun
""": 64,
}


@pytest.mark.parametrize(("body", "expected"), PROGRAMS.items())
def test_bytes_between_memory_and_cores(body, expected):
    text = f"{LOOKED_UP}\nENTRY %main (a: f32[1]) -> f32[1] {{\n{body}}}\n"
    assert hbm_bytes(Program.parse(text)) == expected
