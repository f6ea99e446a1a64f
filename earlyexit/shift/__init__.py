"""Photographs as another camera takes them: corrupted ones, and those of a user's camera."""
