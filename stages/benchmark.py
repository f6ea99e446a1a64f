"""Stage benchmark: measured latency of the INT8 baseline, of each segment, and of the cascade under each policy."""

from pathlib import Path

from earlyexit.common.files import write_json
from earlyexit.dataset import open_split
from earlyexit.evaluation import latency, per_image
from earlyexit.params import load
from earlyexit.policy.cascade import Cascade
from earlyexit.policy.decision import decide
from earlyexit.policy.policies import load_policies
from earlyexit.tflite import deployment
from stages import run


def main() -> None:
    """Time both networks on the val split and check every decision; write models/latency.json."""
    passes = load().benchmark.passes
    baseline = deployment.load(Path("models/int8/baseline"))
    network = deployment.load(Path("models/int8/early_exit"))
    policies = load_policies("models/policies.json").policies
    logits = per_image.load(Path("models/evaluation/val.safetensors")).int8_early_exit
    images = network.quantize(open_split("data/packed", "val").images)
    segments = network.segments()
    running = [Cascade(segments, policy.thresholds, policy.patience) for policy in policies]
    measured = latency.measure(baseline.segments()[0], segments, running, images, passes)
    for policy, outcomes in zip(policies, measured.outcomes, strict=True):
        decisions = decide(logits, policy.thresholds, policy.patience)
        latency.check_outcomes(outcomes, decisions.exits, decisions.labels, policy.name)
    cascades = {policy.name: time for policy, time in zip(policies, measured.cascades, strict=True)}
    report = {
        "unit": "microseconds per image, mean over the val split, median over the passes",
        "n": len(images),
        "passes": passes,
        "baseline": measured.baseline,
        "segments": dict(zip(network.names, measured.segments, strict=True)),
        "cascade": cascades,
        "baseline_spread": measured.spread,
        "machine": latency.machine(),
    }
    write_json("models/latency.json", report)
    for name, time in cascades.items():
        print(f"{name}: {time:.1f} us, {measured.baseline / time:.2f} x the baseline's {measured.baseline:.1f} us")


if __name__ == "__main__":
    run(main)
