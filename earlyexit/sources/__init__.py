"""Where photographs come from: downloads, folders and archives, and scenes drawn from a seed.

Out goes the raw layout.
"""
