"""How the page looks: on light and dark screens, and on paper."""

import re

_LIGHT = """
  --paper: #ffffff; --ink: #1c1f24; --soft: #626a75; --rule: #dfe3e8; --card: #f6f7f9;
  --good: #e3f2e6; --warning: #b23b00;
  --c0: #3568b0; --c1: #d97a1e; --c2: #2f8f57; --c3: #c23b4b;
  --c4: #8457a8; --c5: #1d929c; --c6: #8c6242; --c7: #5f6b7a;
"""
_DARK = """
  --paper: #15181c; --ink: #e4e7eb; --soft: #9aa3ae; --rule: #343a42; --card: #1e2227;
  --good: #1f3b27; --warning: #ff9d66;
  --c0: #7aa9ec; --c1: #f2a457; --c2: #6cc98f; --c3: #ee7d8a;
  --c4: #bb94dc; --c5: #5cc7d1; --c6: #c79a75; --c7: #a3afbd;
"""
LIGHT = dict(re.findall(r"--(\w+): (#\w+);", _LIGHT))
"""The colours by name, no two the same: charts are drawn in them."""
STYLE = (
    f"""
:root {{ color-scheme: light dark; {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
@media print {{ :root {{ color-scheme: light; {_LIGHT} }} }}
"""
    + """
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.5rem 4rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .8rem; padding-top: .6rem;
  border-top: 1px solid var(--rule); }
h2.kind { font-size: 1.45rem; border: none; }
h3 { font-size: 1rem; margin: 1.6rem 0 .5rem; }
p { margin: .4rem 0; }
small, .soft, .note, footer { color: var(--soft); }
.note, small, footer { font-size: .85rem; font-weight: normal; }
.warning { color: var(--warning); }
.cards { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.2rem 0 0; }
.card { background: var(--card); border-radius: 6px; padding: .6rem 1rem; min-width: 7.5rem; }
.card b { display: block; font-size: 1.35rem; font-weight: 600; line-height: 1.35;
  font-variant-numeric: tabular-nums; }
.card span, .card small { display: block; color: var(--soft); font-size: .82rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .28rem .8rem; text-align: left; vertical-align: top; overflow-wrap: break-word;
  max-width: 34rem; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.whole { white-space: nowrap; }
td small { display: block; }
.best { background: var(--good); border-radius: 3px; padding: .1rem .3rem; font-weight: 650; }
.mean td { background: var(--card); }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .88em; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr));
  gap: 1.6rem 2rem; }
figure { margin: 0; break-inside: avoid; display: flex; flex-direction: column; }
figcaption { font-weight: 600; font-size: .92rem; }
figure > svg { display: block; width: 100%; height: auto; margin-top: auto;
  stroke-linejoin: round; }
svg text { font-family: inherit !important; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1rem; margin: .1rem 0 .3rem; padding: 0;
  list-style: none; font-size: .82rem; color: var(--soft); overflow-wrap: anywhere; }
.swatch { display: inline-block; width: 18px; margin-right: .4rem; vertical-align: middle;
  border-top: 2.4px solid var(--c); }
.d1 { border-top-style: dashed; }
.d2 { border-top-style: dotted; }
.bar { display: flex; height: 1.1rem; border-radius: 4px; overflow: hidden; margin: .2rem 0 .8rem; }
.bar span { display: block; background: var(--c); }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px;
  margin-right: .45rem; background: var(--c); }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--soft); }
footer { margin-top: 3rem; border-top: 1px solid var(--rule); padding-top: .8rem; }
@page { margin: 14mm; }
@media print { body { padding: 0; max-width: none; font-size: 11px; }
  .figures { grid-template-columns: 1fr 1fr; } .wide { overflow: visible; }
  table { font-size: 9px; } th, td { padding: .2rem .4rem; white-space: normal; }
  .card, .mean td, .best, .bar span, .key { print-color-adjust: exact; } }
"""
    + "".join(f".c{number} {{ --c: var(--c{number}); }}\n" for number in range(8))
)
