"""From the raw layout to packed splits: label rules, decoding, arrays of pixels with an index."""
