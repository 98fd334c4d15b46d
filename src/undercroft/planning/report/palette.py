"""Colours of plots, light and dark: told apart without red and green, at least 3:1 against their paper. Pure."""

from __future__ import annotations

from collections.abc import Mapping

# Name → on light, on dark.
FILLS: Mapping[str, tuple[str, str]] = {
    "weights": ("#2f6690", "#6aa9d8"),
    "repacked-weights": ("#5b8fb4", "#a3cdea"),
    "kv-cache": ("#c8792b", "#e7a65c"),
    "compute-buffers": ("#5e7d4e", "#9cc088"),
    "runtime": ("#7a7f87", "#a8adb5"),
    "device-context": ("#565c66", "#8b929c"),
    "adapters": ("#8a5a99", "#c194cf"),
    "state": ("#a8456b", "#e08bab"),
    "paging-reserve": ("#94813f", "#cdb974"),
    "good": ("#2f6690", "#6aa9d8"),
    "chosen": ("#0f766e", "#45c4b5"),
    "poor": ("#8a9099", "#868d97"),
}
STROKES: Mapping[str, tuple[str, str]] = {
    "owning": ("#0f766e", "#45c4b5"),
    "cloud": ("#b45309", "#f0a04b"),
    "renting": ("#6d4c91", "#b79ad6"),
    "limit": ("#a3243b", "#ff8a9a"),
    "axis": ("#8a9099", "#6f7782"),
    "grid": ("#e3e6ea", "#2c333d"),
    "limit-mark": ("#a3243b", "#ff8a9a"),
    "ring": ("#2f6690", "#6aa9d8"),
}
INKS: Mapping[str, tuple[str, str]] = {
    "words": ("#1d2530", "#e8ebef"),
    "quiet": ("#586170", "#a9b1bc"),
    "alarm": ("#a3243b", "#ff8a9a"),
}
PAPER = ("#ffffff", "#171c23")
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Helvetica Neue', Arial, sans-serif"
_DASHES = {"cloud": "7 4", "renting": "2 4", "limit": "5 3"}


def plot_style() -> str:
    """The style sheet of every plot, in a page or alone."""
    rules = [
        f".plot text{{font-family:{_FONT};font-size:13px}}",
        ".plot .strong{font-weight:600}",
        ".plot .end{text-anchor:end}.plot .middle{text-anchor:middle}",
        ".plot .line{fill:none;stroke-width:2.25;stroke-linecap:round;stroke-linejoin:round}",
        ".plot .rim{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}.plot .ring-open{fill:none}",
        ".plot .thin{fill:none;stroke-width:1}",
        *(f".plot .s-{name}{{stroke-dasharray:{dash}}}" for name, dash in _DASHES.items()),
        *_colours(0),
    ]
    return "\n".join(rules) + "\n@media screen and (prefers-color-scheme: dark){\n" + "\n".join(_colours(1)) + "\n}\n"


def _colours(mode: int) -> list[str]:
    return [
        *(f".plot .f-{name}{{fill:{pair[mode]}}}" for name, pair in FILLS.items()),
        *(f".plot .f-{name}{{fill:{pair[mode]}}}" for name, pair in STROKES.items()),
        *(f".plot .s-{name}{{stroke:{pair[mode]}}}" for name, pair in STROKES.items()),
        *(f".plot .t-{name}{{fill:{pair[mode]}}}" for name, pair in INKS.items()),
        f".plot .paper,.plot .ring{{fill:{PAPER[mode]}}}.plot .rim{{stroke:{PAPER[mode]}}}",
        f".plot .edge{{stroke:{PAPER[mode]};stroke-width:1.5}}",
    ]
