"""Photographs from downloads, folders and archives, or drawn from a seed, brought into the raw layout."""
