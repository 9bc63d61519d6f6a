"""What `target_store.py` found, held against what is asked for, and as a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

MOST_BYTES, MOST_DEGREES, MOST_SHARE, LEAST_READING = 20.0, 5.0, 2 / 3, 20.0
DEFAULT = "sampled 0.05"
DISTILLKIT = {"DistillKit k=50": 114, "DistillKit k=128": 312}
"""Published bytes a token of its codec at 49,152 ids; its gradient is that of top-k at best."""


def bytes_at_angle(curve: Sequence[tuple[float, float]], angle: float) -> float:
    """Bytes at which a curve of (bytes, angle) has an angle: straight lines between logarithms, no
    extrapolation."""
    points = sorted(curve, key=lambda point: point[1])
    angles, sizes = (
        [math.log(point[1]) for point in points],
        [math.log(point[0]) for point in points],
    )
    if not angles[0] <= math.log(angle) <= angles[-1]:
        return math.nan
    return math.exp(float(np.interp(math.log(angle), angles, sizes)))


def bars(stores: dict[str, dict[str, Any]], reading: dict[str, float]) -> dict[str, dict[str, Any]]:
    """What is asked for, what was found, whether it is enough."""
    fitting = {
        name: row
        for name, row in stores.items()
        if row["kind"] == "sampled" and row["bytes_per_token"] <= MOST_BYTES
    }
    best = min(fitting, key=lambda name: fitting[name]["angle_degrees"], default=None)
    angle, size = stores[DEFAULT]["angle_degrees"], stores[DEFAULT]["bytes_per_token"]
    ratios = {}
    for key in ("bytes_per_token", "published_bytes_per_token"):
        curve = [
            (row[key], row["angle_degrees"]) for row in stores.values() if row["kind"] == "iid"
        ]
        ratios[key] = size / bytes_at_angle(curve, angle)
    return {
        "sampled within 20 bytes a token and 5 degrees": {
            "found": None
            if best is None
            else [best, stores[best]["bytes_per_token"], stores[best]["angle_degrees"]],
            "passed": best is not None and stores[best]["angle_degrees"] <= MOST_DEGREES,
        },
        "bytes against i.i.d. sampling at the same angle, 3 bytes an id as published: at most 2/3": {
            "found": ratios["published_bytes_per_token"],
            "passed": ratios["published_bytes_per_token"] <= MOST_SHARE,
        },
        "bytes against i.i.d. sampling at the same angle, coded as ours: at most 2/3": {
            "found": ratios["bytes_per_token"],
            "passed": ratios["bytes_per_token"] <= MOST_SHARE,
        },
        "reading at least 20 times as fast as training": {
            "found": reading["ratio"],
            "passed": reading["ratio"] >= LEAST_READING,
        },
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The report as a small page."""
    found, reading, machine = report["measured"], report["reading"], report["machine"]
    lines = []
    for name, row in found["stores"].items():
        size, published = f"{row['bytes_per_token']:.1f}", row.get("published_bytes_per_token")
        if row["kind"] == "top_k":
            for label, key in (
                ("with a bucket for the tail", "bucket"),
                ("renormalised, no tail", "renormalised"),
            ):
                if key not in row:
                    continue
                angle, norm = row[key]["angle_degrees"], row[key]["norm_ratio"]
                lines.append(
                    f"| {name}, {label} | {row['ids']:.1f} | {size} | {angle:.1f} | {norm:.2f} |"
                )
            continue
        shown = size if published is None else f"{size} ({published:.1f} at 3 bytes an id)"
        lines.append(
            f"| {name} | {row['ids']:.1f} | {shown} | {row['angle_degrees']:.1f} | "
            f"{row['norm_ratio']:.2f} |"
        )
    lines += [
        f"| {name}, published | | {size} | as top-k at best | |"
        for name, size in DISTILLKIT.items()
    ]
    met = []
    for name, bar in report["bars"].items():
        value = bar["found"]
        shown = (
            f"{value:.2f}"
            if isinstance(value, float)
            else "none"
            if value is None
            else (f"{value[0]}: {value[1]:.1f} bytes, {value[2]:.1f} degrees")
        )
        met.append(f"| {name} | {shown} | {'yes' if bar['passed'] else 'no'} |")
    student = found["student"]
    large = (
        " What a store has once (manifest, Parquet's schema, ranks of ids) weighs on so few "
        "tokens; the large stores "
        f"hold {found['large_positions']:,} tokens, those of the batch among them, as labelling "
        "leaves them."
        if found["large_positions"]
        else ""
    )
    return (
        "# Target stores: bytes a token against the angle of the gradient\n\n"
        f"SmolLM2-135M-Instruct over {found['positions']:,} tokens of {found['documents']} IMDb "
        "reviews (mean entropy "
        f"{found['mean_entropy_nats']:.2f} nats); bytes are those of the whole folder, manifest "
        "and Parquet's own "
        "included. The gradient is that of forward KL with respect to the output matrix of a "
        "student pruned to "
        f"{student['layers']} layers, {student['origin']} "
        f"({student['kl_nats']:.2f} nats from the teacher here), over a batch of "
        f"{found['batch_tokens']:,} tokens, "
        "against the one from whole distributions in float32. All targets are read back from the "
        "store first." + large + "\n\n"
        "| targets | ids a token | bytes a token | degrees | ratio of norms "
        "|\n|---|---:|---:|---:|---:|\n"
        + "\n".join(lines)
        + "\n\ni.i.d. sampling is random-sampling KD: so many draws from the whole distribution, stored as ids and "
        "counts. The first size is with the coding of `sampled` (ranks, buckets and bits, repeated "
        "ids first, counts "
        "as differences, entropies in a byte), the second at 3 bytes an id without entropies, as "
        "its authors store "
        "it.\n\n"
        f"Reading ({DEFAULT}, lookup to tensors): {reading['read_tokens_per_second']:,.0f} tokens "
        "a second; a "
        f"student pruned to 10 of 30 layers trains on {reading['train_tokens_per_second']:,.0f} a "
        "second on the same "
        "machine in the same run.\n\n"
        "| bar | found | met |\n|---|---:|---|\n" + "\n".join(met) + "\n\n"
        f"{machine['processor']}, {machine['threads']} threads; "
        + ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
        + ". "
        + "".join(f"{note} " for note in report["notes"])
        + f"Again: `python benchmarks/target_store.py{report['options']}`\n"
    )
