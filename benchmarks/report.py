"""What the figures are written to: JSON with all of them, a table, a plot."""

import json
import math
import platform
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

COLUMNS = ("rate", "p50", "p99", "cpu_us", "server_connections", "memory_mib", "threads")
COMPARED = ("rate", "p99")
"""Side by side, in each round."""
HEAD = (
    "| workload | tenants | side | /s | ours is | p50 ms | p99 ms | ours is"
    " | CPU µs | sockets | MiB |"
)
BASE = "ours"
PANELS = 4
"""Of the plot, in a row."""


def write_report(
    folder: Path,
    *,
    kept: Sequence[Any],
    dropped: int,
    starts: Mapping[str, Sequence[float]],
    firsts: Mapping[str, Mapping[str, float]],
    labels: Mapping[str, str],
    command: str,
) -> None:
    """Write latest.json, latest.md and latest.svg into the folder, and print the table."""
    folder.mkdir(parents=True, exist_ok=True)
    medians = _medians(kept)
    ratios = {column: _ratios(kept, column) for column in COMPARED}
    table = _table(medians, ratios, starts, firsts, labels)
    about = (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()},"
        f" {platform.machine()}. Medians; {dropped} runs that other load disturbed were dropped.\n"
    )
    (folder / "latest.md").write_text(f"{about}\n{table}")
    (folder / "latest.json").write_text(
        json.dumps(
            {
                "command": command,
                "runs": [vars(figures) for figures in kept],
                "dropped": dropped,
                "startSeconds": starts,
                "firstRequestsMs": firsts,
            },
            indent=1,
        )
    )
    print(f"\n{about}\n{table}")
    _plot(folder / "latest.svg", medians, labels)


def _medians(kept: Sequence[Any]) -> dict[tuple[str, int, str], dict[str, float]]:
    """By workload, number of tenants and side, each in the order in which they were first run."""
    names = list(dict.fromkeys(run.workload for run in kept))
    order = list(dict.fromkeys(run.side for run in kept))
    runs = defaultdict(list)
    for run in kept:
        runs[run.workload, run.tenants, run.side].append(run)
    return {
        key: {name: statistics.median(getattr(run, name) for run in runs[key]) for name in COLUMNS}
        for key in sorted(runs, key=lambda it: (names.index(it[0]), it[1], order.index(it[2])))
    }


def _ratios(kept: Sequence[Any], column: str) -> dict[tuple[str, int, str], float]:
    """How many times a side's figure that of BASE is: the median over the rounds of which both runs
    were kept, by workload, number of tenants and side."""
    base = {run.round: getattr(run, column) for run in kept if run.side == BASE}
    found = defaultdict(list)
    for run in kept:
        if run.side != BASE and run.round in base:
            ratio = base[run.round] / getattr(run, column)
            found[run.workload, run.tenants, run.side].append(ratio)
    return {key: statistics.median(of_key) for key, of_key in found.items()}


def _table(
    medians: Mapping[tuple[str, int, str], Mapping[str, float]],
    ratios: Mapping[str, Mapping[tuple[str, int, str], float]],
    starts: Mapping[str, Sequence[float]],
    firsts: Mapping[str, Mapping[str, float]],
    labels: Mapping[str, str],
) -> str:
    lines = [
        HEAD,
        "|---" * (HEAD.count("|") - 1) + "|",
    ]
    for (workload, tenants, side), row in medians.items():
        found = {column: ratios[column].get((workload, tenants, side)) for column in COMPARED}
        ours = {column: f"{ratio:.2f} x" if ratio else "" for column, ratio in found.items()}
        lines.append(
            f"| {workload} | {tenants:,} | {labels[side]} | {row['rate']:,.0f}"
            f" | {ours['rate']} | {row['p50']:.1f} | {row['p99']:.1f} | {ours['p99']}"
            f" | {row['cpu_us']:,.0f} | {row['server_connections']:.0f} | {row['memory_mib']:.0f} |"
        )
    lines += [
        "",
        "| side | s to the first answer | first request of a tenant, ms | of a session | later |",
        "|---|---|---|---|---|",
    ]
    for side, seconds in starts.items():
        cells = " | ".join(f"{ms:.2f}" for ms in firsts.get(side, {}).values()) or " | | "
        lines.append(f"| {labels[side]} | {statistics.median(seconds):.1f} | {cells} |")
    return "\n".join(lines) + "\n"


def _plot(
    path: Path,
    medians: Mapping[tuple[str, int, str], Mapping[str, float]],
    labels: Mapping[str, str],
) -> None:
    """Requests a second over the number of tenants, a panel for each workload."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("No plot: Matplotlib is not installed")
        return
    if not medians:
        print("No plot: other load disturbed every run")
        return
    names = list(dict.fromkeys(workload for workload, _, _ in medians))
    columns = min(PANELS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(3.2 * columns, 2.8 * rows + 0.6), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels, names, strict=False):
        for number, (side, label) in enumerate(labels.items()):
            points = sorted(
                (tenants, row["rate"])
                for (workload, tenants, of), row in medians.items()
                if workload == name and of == side
            )
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", color=f"C{number}", label=label)
        axes.set(title=name, xlabel="tenants", xscale="log", ylim=(0, None))
    handles, shown = figure.axes[0].get_legend_handles_labels()
    figure.axes[0].set_ylabel("requests/s")
    figure.legend(handles, shown, loc="outside lower center", ncols=min(3, len(shown)))
    figure.savefig(path)
