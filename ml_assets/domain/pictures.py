"""Pictures for people, as PNG bytes.

What belongs here: drawing what was computed. What does not: computing it. matplotlib is imported inside
functions, because the code location must load without it.
"""

import base64
from collections.abc import Mapping
from io import BytesIO

import polars as pl


def reliability_picture(curves: Mapping[str, pl.DataFrame], title: str) -> bytes:
    """A reliability diagram: mean predicted probability against observed share with its band, one line a curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6, 3.2), dpi=80)
    # Fixed margins: a layout that fits itself draws everything twice.
    axes = figure.add_axes((0.16, 0.15, 0.8, 0.75))
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfect")
    for name, curve in curves.items():
        at = curve["mean_probability"]
        (line,) = axes.plot(at, curve["observed_share"], marker="o", markersize=3, label=name)
        axes.fill_between(at, curve["low"], curve["high"], color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlabel="predicted probability", ylabel="observed share", title=title, xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, fontsize=8)
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()


def inline(picture: bytes, name: str = "picture") -> str:
    """Markdown that shows a PNG in place; keep such pictures small, they live in the event log."""
    return f"![{name}](data:image/png;base64,{base64.b64encode(picture).decode()})"
