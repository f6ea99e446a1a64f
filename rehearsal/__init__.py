"""Rehearsals of what can go wrong: a faulty server, archives in the official layout, kills, a miniature project."""
