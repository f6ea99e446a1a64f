import numpy as np

from earlyexit.evaluation.agreement import compare
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import Segment, all_logits
from tests.conftest import Exported


def test_counts_both_networks(deployed: Deployment, exported: Exported) -> None:
    n = len(exported.images)
    labels = np.arange(n) % 2
    report = compare(exported.segments, deployed, exported.images, labels)
    assert list(report) == ["exit1", "exit2", "final"]
    fp32 = all_logits([Segment(model) for model in exported.segments], exported.normalized, "FP32")
    int8 = all_logits(deployed.segments(), deployed.quantize(exported.images), "INT8")
    for entry, a, b in zip(report.values(), fp32, int8, strict=True):
        before, after = a[:, 1] > a[:, 0], b[:, 1] > b[:, 0]
        assert entry["fp32"]["value"] == np.mean(before == labels)
        assert entry["int8"]["value"] == np.mean(after == labels)
        assert entry["same_label"] == np.mean(before == after)
        assert entry["fp32"]["n"] == entry["int8"]["n"] == n
