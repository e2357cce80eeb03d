"""Explaining images with a run: pages, the local server, and where pictures come from."""
