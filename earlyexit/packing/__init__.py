"""The raw layout in, packed splits out: labels, decoded pixels in arrays, and an index."""
