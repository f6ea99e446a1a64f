"""Compose sheets of pictures: samples of the data, and val images that leave at each exit."""
