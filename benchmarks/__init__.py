"""Measurements beside the workflow, run by hand."""
