"""What was promised of the service beside what was measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

TIMEOUT_MS = 10_000
"""The service's own, where nothing else is set."""
FLAT = 0.02

Json = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """One promise."""

    where: str
    """A bundle's name, or nothing where it is not about one."""
    promise: str
    limit: str
    measured: str
    holds: bool


def goals_of(result: Json) -> list[Goal]:
    """Every promise about which something was measured."""
    found = [goal for name, readings in result.get("bundles", {}).items() for goal in _of_bundle(name, readings)]
    if "swaps" in result:
        found.append(_swaps(result["swaps"]))
    if "import" in result:
        found.append(_import(result["import"]))
    return found + [_fault(name, told) for name, told in result.get("faults", {}).items()]


def _of_bundle(name: str, readings: Json) -> Iterator[Goal]:
    if not {"floor", "one worker"} <= readings.keys():
        return
    floor, one = readings["floor"], readings["one worker"]
    alone_ms, most_ms = one["alone"]["p50_ms"], 1.5 * floor["p50_ms"] + 1
    yield Goal(
        name,
        "p50 at one client",
        f"1.5 floors and 1 ms: {most_ms:.2f} ms",
        f"{alone_ms:.2f} ms, floor {floor['p50_ms']:.2f}",
        alone_ms <= most_ms,
    )
    peak, together = one["peak"]["good_per_second"], max(floor["per_second_together"].values())
    yield Goal(
        name,
        "requests a second at the peak",
        "70 % of in-process batches",
        f"{peak:,.0f}, {peak / together:.0%} of {together:,.0f}",
        peak >= 0.7 * together,
    )
    busy = one["at 70 %"]
    tail = busy["p99_ms"] / busy["p50_ms"]
    yield Goal(
        name,
        "p99 at 70 % load",
        "under 5 times p50",
        f"{busy['p99_ms']:.2f} ms, {tail:.1f} times {busy['p50_ms']:.2f}",
        tail < 5,
    )
    if "overload" in readings:
        yield from _overload(name, readings["overload"], peak)


def _overload(name: str, over: Json, peak: float) -> Iterator[Goal]:
    share = over["good_per_second"] / peak
    yield Goal(
        name,
        "good answers at 3 times the peak",
        "80 % of the peak",
        f"{over['good_per_second']:,.0f} a second, {share:.0%}",
        share >= 0.8,
    )
    worst_ms = over["worst_of_all_ms"]
    yield Goal(
        name, "longest wait then", f"{TIMEOUT_MS / 1_000:.0f} s", f"{worst_ms / 1_000:.2f} s", worst_ms <= TIMEOUT_MS
    )
    grown = growth(over["megabytes"])
    yield Goal(
        name,
        f"memory over {over['seconds'] / 60:.0f} minutes of it",
        f"grows under {FLAT:.0%}",
        f"{grown:+.1%} of {over['megabytes'][-1]:,.0f} MB",
        grown < FLAT,
    )


def growth(megabytes: list[float]) -> float:
    """From the second quarter to the last, as a share: the first fills caches and buffers.

    Example:
        >>> f"{growth([80.0, 90.0, 100.0, 100.0, 101.0, 101.0, 102.0, 102.0]):.1%}"
        '2.0%'
    """
    quarter = max(1, len(megabytes) // 4)
    before, after = median(megabytes[quarter : 2 * quarter] or megabytes), median(megabytes[-quarter:])
    return after / before - 1


def _swaps(swaps: Json) -> Goal:
    return Goal(
        "",
        f"{swaps['swaps']} bundles swapped under load",
        "no failure, no mixed answer",
        f"{swaps['good']:,} answers, {swaps['failed']} failed, {swaps['mixed']} mixed",
        swaps["good"] > 0 and swaps["failed"] == swaps["mixed"] == 0,
    )


def _import(told: Json) -> Goal:
    a_million_s = told["seconds"] * 1e6 / told["events"]
    return Goal(
        "",
        f"{told['events']:,} events imported",
        "30 s a million",
        f"{told['seconds']:.1f} s, {told['processor_seconds']:.1f} s of a core",
        a_million_s < 30,
    )


def _fault(name: str, told: Json) -> Goal:
    counted = [f"{value:,} {what}" for what, value in told.items() if what not in ("tests", "failed", "seconds")]
    figures = ", ".join([*counted, f"{told['tests']} tests, {told['failed']} failed"])
    return Goal("", name, "no test fails", figures, told["tests"] > 0 and told["failed"] == 0)
