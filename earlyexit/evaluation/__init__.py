"""What the network does on images: logits of every exit, accuracy with its interval, latency, the frontier of both."""
