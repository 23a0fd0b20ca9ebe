"""What the table of sizes says is what `jaxbert plan` and create.sh take."""

import re

from fake_cloud import PLACE, TPU

from jaxbert.plan.chips import topology_of


def test_every_size_has_the_topology_of_as_many_chips(cloud):
    text = (TPU / "README.md").read_text()
    rows = re.findall(r"^\| (`v\d[^|]*)\|.*\|([^|]*)\|$", text, re.M)
    assert len(rows) == 6
    for types, topologies in rows:
        kind = re.match(r"`(\w+)-", types)[1]
        name = re.search(r"`(\w+):", topologies)[1]
        assert kind == {"v5e": "v5litepod"}.get(name, name)
        shapes = re.findall(r"[`:]([\dx]+)`", topologies)
        for size, shape in zip(re.findall(r"-(\d+)`", types), shapes, strict=True):
            # TensorCores, two a chip, for v4 and v5p.
            cores = 2 if name in ("v4", "v5p") else 1
            assert topology_of(f"{name}:{shape}").num_chips * cores == int(size)
            words = ["bert", "--type", f"{kind}-{size}", "--dry-run", *PLACE]
            assert cloud.run("create.sh", *words).returncode == 0
