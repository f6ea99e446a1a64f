"""The numbers of the paper, which reports and figures show beside ours."""

TABLE1: dict[str, dict[str, float | None]] = {
    "fp32": {"accuracy": 0.8765, "early_exit_rate": None, "speedup": None},
    "int8_baseline": {"accuracy": 0.8109, "early_exit_rate": None, "speedup": 1.0},
    "p50": {"accuracy": 0.7945, "early_exit_rate": 0.7305, "speedup": 1.54},
    "p75": {"accuracy": 0.8051, "early_exit_rate": 0.2956, "speedup": 1.15},
    "p95": {"accuracy": 0.8066, "early_exit_rate": 0.0133, "speedup": 1.01},
}
"""Rows of Table I, as shares from 0 to 1; None if the paper gives no number."""

MEMORY = {"flash": 260_000, "sram": 67_000}
"""Bytes of the quantized network, estimated by the paper."""
