"""Training of the network, in both stages of the paper (Section II-A): from packed splits to trained weights."""
