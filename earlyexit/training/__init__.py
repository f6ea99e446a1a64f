"""Training of the network, in both stages of the paper (Section II-A).

In go a network and packed splits; out comes the trained network.
"""
