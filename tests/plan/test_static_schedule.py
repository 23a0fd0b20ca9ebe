"""Instruction bundles of kernels, of texts that are counted by hand."""

import pytest

from jaxbert.plan.hlo import Program
from jaxbert.plan.schedule import bundles_of, schedule_of

HEAD = """= control target key start
LB: loop body
= control target key end

"""
STRAIGHT = """     0   :  { %v1 = vmov 0.0 } /* entry bundle: %fusion.1 */
   0x1   :  { %4 = vsyncpa [#allocation2], 0  ;;  %s8_s0 = sshll.u32 %s157_s0, 4
base_bounds: (1, 1, 1)
second_minor_factor: 1 */ }
   0x2   :  {}
"""
LOOP = """     0   :  { %s10679_s27 = smov.u32 0 }
   0x1 LB: > { %s10593_s27 = sphi %s10679_s27, %s30_s27 }
   0x2 PF: > { %s30_s27 = sadd.s32 1, %s10593_s27 }
   0x3   : > { %p27_p3 = scmp.ge.s32.totalorder %s30_s27, 10 /* loop exit test */ }
   0x4   :  { %8457 = vsyncpa [#allocation6], 1 }
"""
NESTED = """     0   :  { %v1 = vmov 0.0 }
   0x1 LB: > { %s1_s1 = sadd.s32 4, %s2_s2 }
   0x2 LB: >> { %s3_s3 = sadd.s32 1, %s4_s4 }
   0x3   : >> { %p1_p1 = scmp.ge.s32.totalorder %s3_s3, 3 /* loop exit test */ }
   0x4   : > { %p2_p2 = scmp.ge.s32.totalorder %s1_s1, 7 /* loop exit test */ }
   0x5 LB: > { %p5_p5 = scmp.lt.s32.totalorder %s1_s1, %s9_s9 }
   0x6   : > { %v2 = vmov 1.0 }
"""
# As of a reduce-scatter in the second phase of BERT-large on v5e:2x4.
SKIPPING = """     0   :  { %s8_s5 = smov.u32 0 /* copy for cssa */ } /* Start region 895 */
   0x1 LB: > { %s1_s1 = sadd.s32 1, %s2_s2 }
   0x2   : > { %p4_p4 = scmp.ge.s32.totalorder %s1_s1, 4 /* loop exit test */ }
   0x3 LB:  { %s4648_s5 = sphi %s8_s5, %s117_s5 /* phi copy */ } /* Start region 15 */
   0x4   : > { %40 = sbr.rel (%p7885_p1) target = $region20 }
   0x5   :  {}
   0x6   :  {} /* End region 34 */
   0x7   : > { %s117_s5 = sadd.s32 1, %s4648_s5 }
   0x8 LB: >> { %v0 = vmov 0.0 }
   0x9   : >> { %75 = sbr.rel (!%p1_p1) target = $region90 }
   0xa   : > { %p114_p13 = scmp.ge.s32.totalorder %s117_s5, 2 /* loop exit test */ } /* End */
   0xb   :  { %116 = sbr.rel (!%p114_p13) target = $region896 }
   0xc   :  {}
   0xd   :  { %v1 = vmov 0.0 }
"""


@pytest.mark.parametrize(
    ("text", "bundles"),
    [
        (STRAIGHT, 3),
        (LOOP, 1 + 3 * 10 + 1),
        # Steps of 4 up to 7 are two turns; a loop without a constant bound turns once.
        (NESTED, 1 + (2 + 2 * 3) * 2 + 2),
        (LOOP.replace("> ", ""), 5),
        # Turns of the second: its phi, the branch over nothing with its two slots, the counter,
        # the loop inside, the exit test, the branch back and its slot.
        (SKIPPING, 1 + 2 * 4 + (1 + 3 + 1 + 2 + 1 + 2) * 2 + 1),
    ],
)
def test_bundles_of_loops_count_as_often_as_they_turn(text, bundles):
    assert bundles_of(HEAD + text) == bundles


KERNEL = (
    'custom-call(%p), custom_call_target="tpu_custom_call", metadata={op_name="a/splash_fwd/b"}'
)
PROGRAM = f"""%one (p: f32[8]) -> f32[8] {{
  %p = f32[8]{{0}} parameter(0)
  ROOT %m = f32[8]{{0}} multiply(%p, %p)
}}

%other (q: f32[8]) -> f32[8] {{
  %q = f32[8]{{0}} parameter(0)
  ROOT %n = f32[8]{{0}} negate(%q)
}}

ENTRY %main (p: f32[8]) -> f32[8] {{
  %p = f32[8]{{0}} parameter(0)
  %fusion.1 = f32[8]{{0}} fusion(%p), kind=kLoop, calls=%one
  %fusion.2 = f32[8]{{0}} fusion(%p), kind=kLoop, calls=%one
  %fusion.3 = f32[8]{{0}} fusion(%p), kind=kLoop, calls=%other
  %all-reduce.1 = f32[8]{{0}} all-reduce(%p), replica_groups=[1,8]<=[8]
  %async-collective-start.1 = f32[8]{{0}} fusion(%p), kind=kCustom, calls=%other
  %async-collective-done.1 = f32[8]{{0}} fusion(%p), kind=kCustom, calls=%other
  %splash.1 = f32[8]{{0}} {KERNEL}
  ROOT %splash.2 = f32[8]{{0}} {KERNEL}
}}
"""


def test_kernels_that_are_alike_are_written_once_and_exchanges_left_out(tmp_path):
    for name, text in (("fusion.1", STRAIGHT), ("all-reduce.1", LOOP), ("splash.1", LOOP)):
        (tmp_path / f"17-{name}-01-final_bundles.txt").write_text(HEAD + text, encoding="utf-8")
        (tmp_path / f"17-{name}-00-schedule-analysis_final_bundles.txt").write_text("Schedule")
    (tmp_path / "17-TLP-01-final_bundles.txt").write_text(HEAD + NESTED, encoding="utf-8")
    found = schedule_of(Program.parse(PROGRAM), tmp_path)
    assert (found.bundles, found.pallas) == (2 * 3 + 2 * 32, 2 * 32)
    assert found.kernels == {"splash.1": 32, "splash.2": 32}
    assert (found.missing, found.missing_pallas) == (("fusion.3",), ())


def test_without_schedules_everything_is_missing(tmp_path):
    found = schedule_of(Program.parse(PROGRAM), tmp_path / "none")
    assert (found.bundles, found.pallas) == (0, 0)
    assert found.missing_pallas == ("splash.1", "splash.2")
