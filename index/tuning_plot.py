"""The picture of a tuning: recall against time, one line for each kind, the choice marked."""

from pathlib import Path

from index.tune import Reading, Tuning


def draw(tuning: Tuning, path: Path) -> bool:
    """Write a PNG; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    one, many = figure.subplots(1, 2)
    for name in dict.fromkeys(_name(reading) for reading in tuning.readings):
        readings = [reading for reading in tuning.readings if _name(reading) == name]
        one.plot([r.recall for r in readings], [r.batch_1_ms for r in readings], "o", label=name, markersize=4)
        many.plot([r.recall for r in readings], [r.batch_64_qps for r in readings], "o", markersize=4)
    chosen = next(reading for reading in tuning.readings if reading.kind == tuning.chosen)
    one.plot(chosen.recall, chosen.batch_1_ms, "s", markersize=12, fillstyle="none", color="black", label="chosen")
    many.plot(chosen.recall, chosen.batch_64_qps, "s", markersize=12, fillstyle="none", color="black")
    for axes, label in ((one, "batch 1, median ms"), (many, "batch 64, queries a second")):
        axes.axvline(tuning.target_recall, color="grey", linewidth=0.8)
        axes.set(xlabel=f"recall@{tuning.k}", ylabel=label, yscale="log")
    one.legend(fontsize="small")
    figure.suptitle(f"{tuning.rows:,} × {tuning.dim}, {tuning.queries} queries, {tuning.threads} threads: {tuning.why}")
    figure.savefig(path, dpi=120)
    return True


def _name(reading: Reading) -> str:
    return type(reading.kind).__name__ + (" half" if reading.kind.half else "")
