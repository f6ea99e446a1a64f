"""The network in PyTorch: its architecture as data, its modules, checkpoints and pretrained weights."""
