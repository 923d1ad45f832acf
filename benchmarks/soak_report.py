"""What was seen of a soak: whether it is flat, and a plot."""

import itertools
import statistics
from dataclasses import dataclass
from pathlib import Path

MAX_MIB_PER_100_000 = 5.0
"""By how much a worker's memory may seem to grow in 100,000 requests, and still count as flat."""
MAX_MORE = 3.0
"""By how many threads, or descriptors, the last third may exceed the second."""


@dataclass(frozen=True)
class Sample:
    """What the workers, one after another, and mongod held at a moment."""

    seconds: float
    memory_mib: list[float]
    threads: list[int]
    descriptors: list[int]
    mongod_connections: int


def verdicts(samples: list[Sample], requests: int) -> list[tuple[str, bool]]:
    """Return a line about each thing that must not grow, and whether it did not. The first third,
    in which caches fill and pools open, does not count."""
    steady = samples[len(samples) // 3 :]
    seconds = [sample.seconds for sample in steady]
    found = []
    for worker in range(len(steady[0].memory_mib)):
        memory = [sample.memory_mib[worker] for sample in steady]
        a_second = slope(seconds, memory)
        share = requests / samples[-1].seconds / len(steady[0].memory_mib)
        per_100_000 = a_second / share * 100_000
        line = (
            f"Worker {worker + 1}: {memory[0]:.1f} MiB, then {memory[-1]:.1f} MiB:"
            f" {a_second * 3600:+.1f} MiB an hour, {per_100_000:+.1f} MiB in 100,000 requests"
        )
        found.append((line, per_100_000 < MAX_MIB_PER_100_000))
    for name, of in (
        ("threads", lambda sample: sum(sample.threads)),
        ("descriptors", lambda sample: sum(sample.descriptors)),
        ("connections of mongod", lambda sample: sample.mongod_connections),
    ):
        values = [float(of(sample)) for sample in steady]
        middle = len(values) // 2
        before, after = statistics.fmean(values[:middle]), statistics.fmean(values[middle:])
        line = f"All {name}: {before:.1f} on average, then {after:.1f}; {max(values):.0f} at most"
        found.append((line, after <= before + MAX_MORE))
    return found


def slope(xs: list[float], ys: list[float]) -> float:
    """By how much y grows with x: the median over all pairs (Theil and Sen's), which a few outliers
    do not change."""
    pairs = itertools.combinations(zip(xs, ys, strict=True), 2)
    return statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs)


def draw(samples: list[Sample], path: Path) -> None:
    """Draw what was held over time; the same samples give the same file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "soak"
    mpl.rcParams["svg.fonttype"] = "none"
    minutes = [sample.seconds / 60 for sample in samples]
    figure = Figure(figsize=(7, 6), layout="constrained")
    memory, threads, descriptors = figure.subplots(3, 1, sharex=True)
    for worker in range(len(samples[0].memory_mib)):
        label = f"worker {worker + 1}"
        memory.plot(minutes, [sample.memory_mib[worker] for sample in samples], label=label)
        threads.plot(minutes, [sample.threads[worker] for sample in samples], label=label)
        descriptors.plot(minutes, [sample.descriptors[worker] for sample in samples], label=label)
    connections = [sample.mongod_connections for sample in samples]
    descriptors.plot(minutes, connections, "--", label="connections of mongod")
    for axes, title in (
        (memory, "Memory (MiB)"),
        (threads, "Threads"),
        (descriptors, "Descriptors"),
    ):
        axes.set_title(title, loc="left", fontsize="medium")
        axes.set_ylim(0, axes.dataLim.ymax * 1.3)
        axes.grid(alpha=0.3)
    descriptors.legend(loc="lower right", fontsize="small")
    descriptors.set_xlabel("minutes")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
