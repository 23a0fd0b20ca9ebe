"""Numbers for people."""

import math
from typing import Any

NOTHING = "–"


def shown(value: Any) -> str:
    """Counts in full, other numbers with about four digits; any other value as YAML has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 10_000:
        return f"{value:,.0f}"
    if size >= 1:
        # Past the point what four digits leave, but not less than one.
        return f"{value:,.{max(1, 3 - int(math.log10(size)))}f}"
    return f"{value:.4f}" if size >= 0.001 or size == 0 else exponent(f"{value:.2e}")


def option(value: Any) -> str:
    """The value of an option: its number is what somebody wrote, in full."""
    if isinstance(value, float):
        return exponent(f"{value:g}" if float(f"{value:g}") == value else repr(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else shown(value)


def exponent(text: str) -> str:
    """3e-5 for 3.0e-05."""
    base, mark, power = text.partition("e")
    return f"{base.rstrip('0').rstrip('.') if '.' in base else base}e{int(power)}" if mark else text


def percent(share: float) -> str:
    """A share of a whole."""
    return f"{share:.1%}"


def duration(seconds: float) -> str:
    """The two largest units: 41.7 s, 12 min 05 s, 3 h 20 min, 2 d 04 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, small, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small:02} {smaller}"
    return f"{whole // 60} min {whole % 60:02} s"
