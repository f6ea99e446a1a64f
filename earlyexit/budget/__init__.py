"""Measure what a network costs on a device, before and after training, and compare it with the limits of its memory."""
