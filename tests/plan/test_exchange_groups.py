"""Every way in which XLA writes groups of devices, and the mesh axes that they are."""

import numpy as np
import pytest

from jaxbert.plan.collectives import collectives_of
from jaxbert.plan.groups import axes_of, groups_of
from jaxbert.plan.hlo import Program

MESH = {"replica": 1, "data": 2, "fsdp": 2, "tensor": 2}

WRITTEN = {
    "replica_groups={{0,1},{2,3},{4,5},{6,7}}, x": (4, [0, 1], ("tensor",)),
    "replica_groups={}, to_apply=%add": (1, [0, 1, 2, 3, 4, 5, 6, 7], ("data", "fsdp", "tensor")),
    "replica_groups=[4,2]<=[8], x": (4, [0, 1], ("tensor",)),
    "replica_groups=[2,4]<=[4,2]T(1,0), x": (2, [0, 2, 4, 6], ("data", "fsdp")),
    "replica_groups=mesh['axis_0'=8] {'axis_0'}, x": (
        *(1, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("data", "fsdp", "tensor"),
    ),
    "replica_groups=mesh['a'=2,'b'=2,'c'=2] {'b'}, x": (4, [0, 2], ("fsdp",)),
    "replica_groups=mesh['a'=2,'b'=2,'c'=2] {'a','c'}, x": (2, [0, 1, 4, 5], ("data", "tensor")),
    "replica_groups=mesh['a'=4,'b'=2] {'a':(1)2}, x": (4, [0, 4], ("data",)),
    "replica_groups=mesh['a'=4,'b'=2] {'a':(2)2}, x": (4, [0, 2], ("fsdp",)),
    "replica_groups=mesh['a'=4,'b'=2], device_ids=([4,2]T(1,0)) {'b'}, x": (
        *(4, [0, 2]),
        ("fsdp",),
    ),
    "source_target_pairs={{0,1},{2,3},{4,5},{6,7}}, x": (4, [0, 1], ("tensor",)),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_groups_and_axes(text):
    number, first, axes = WRITTEN[text]
    groups = groups_of(text, 8)
    assert groups.shape == (number, len(first))
    assert groups[0].tolist() == first
    assert sorted(groups.ravel().tolist()) == list(range(8))
    assert axes_of(groups, MESH) == axes


def test_device_ids_that_are_listed_are_placed_by_the_list():
    text = "replica_groups=mesh['a'=2,'b'=2], device_ids=(0,2,1,3) {'b'}"
    assert groups_of(text, 4).tolist() == [[0, 2], [1, 3]]


def test_a_device_alone_exchanges_along_no_axis():
    assert axes_of(np.arange(8)[:, None], MESH) == ()


def test_bytes_of_every_kind_of_exchange():
    text = """%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %z = f32[] add(%x, %y)
}

%all-reduce-scatter (p: f32[8]) -> f32[1] {
  %p = f32[8]{0} parameter(0)
  ROOT %a = f32[8]{0} all-reduce(%p), replica_groups=[4,2]<=[8], to_apply=%add
}

%offloaded (q: f32[8]) -> f32[8] {
  %q = f32[8]{0} parameter(0)
  ROOT %b = f32[8]{0} all-reduce(%q), replica_groups={{0,2},{1,3},{4,6},{5,7}}, to_apply=%add
}

ENTRY %main (p0: bf16[100], p1: f32[8]) -> bf16[100] {
  %p0 = bf16[100]{0} parameter(0)
  %p1 = f32[8]{0} parameter(1)
  %r = bf16[100]{0} all-reduce(%p0), replica_groups=[2,4]<=[4,2]T(1,0), to_apply=%add
  %g = (bf16[100]{0}, bf16[200]{0}) all-gather-start(%r), replica_groups=[4,2]<=[8]
  %d = bf16[200]{0} all-gather-done(%g)
  %o = f32[8]{0} custom-call(%p1), custom_call_target="x", called_computations={%offloaded}
  ROOT %s = f32[4]{0} fusion(%p1), kind=kCustom, calls=%all-reduce-scatter
}
"""
    found = {(each.kind, each.axes): each for each in collectives_of(Program.parse(text), MESH)}
    assert set(found) == {
        ("all-reduce", ("data", "fsdp")),
        ("all-reduce", ("fsdp",)),
        ("all-gather", ("tensor",)),
        ("reduce-scatter", ("tensor",)),
    }
    reduced = found["all-reduce", ("data", "fsdp")]
    assert (reduced.num_bytes, reduced.sent_bytes) == (200, 200 * 2 * 3 / 4)
    gathered = found["all-gather", ("tensor",)]
    assert (gathered.num_bytes, gathered.sent_bytes) == (400, 200)
    scattered = found["reduce-scatter", ("tensor",)]
    assert (scattered.num_bytes, scattered.sent_bytes) == (32, 16)


def test_what_goes_on_beside_several_fusions_is_one_exchange():
    body = """ (p: bf16[8]) -> bf16[16] {
  %p = bf16[8]{0} parameter(0)
  ROOT %g = bf16[16]{0} all-gather(%p), replica_groups=[4,2]<=[8], x={chain_id="3"}
}

"""
    text = (
        f"%begin{body}%end{body}"
        + """ENTRY %main (p0: bf16[8]) -> bf16[16] {
  %p0 = bf16[8]{0} parameter(0)
  %a = bf16[16]{0} fusion(%p0), kind=kCustom, calls=%begin
  ROOT %b = bf16[16]{0} fusion(%p0), kind=kCustom, calls=%end
}
"""
    )
    [found] = collectives_of(Program.parse(text), MESH)
    assert (found.count, found.num_bytes, found.sent_bytes) == (1, 32, 16)


def test_what_hosts_send_to_other_slices_is_an_exchange_along_replica():
    text = """ENTRY %main (p0: f32[100]) -> f32[100] {
  %p0 = f32[100]{0} parameter(0)
  %t = token[] after-all()
  %s = (f32[100]{0}, u32[], token[]) send(%p0, %t), channel_id=2, is_host_transfer=true, \
frontend_attributes={_xla_megascale_target="{1,2}x{0:7}",_xla_megascale_transfer_type="ALL_REDUCE"}
  %r = (f32[100]{0}, u32[], token[]) recv(%t), channel_id=1, is_host_transfer=true, \
frontend_attributes={_xla_megascale_target="{1,2}x{0:7}",_xla_megascale_transfer_type="ALL_REDUCE"}
  ROOT %d = (f32[100]{0}, token[]) recv-done(%r), channel_id=1, is_host_transfer=true
}
"""
    [found] = collectives_of(Program.parse(text), {**MESH, "replica": 4})
    assert (found.kind, found.axes, found.count) == ("all-reduce", ("replica",), 1)
    assert (found.num_bytes, found.sent_bytes) == (400, 400 * 2 * 3 / 4)
