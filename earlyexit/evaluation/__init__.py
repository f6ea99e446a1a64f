"""Measure the networks on images: logits of every exit, accuracy with its interval, latency, the trade-off of both."""
