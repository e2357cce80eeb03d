"""Masks that a dataset lacks are found by a segmenter, each with how far it is to be believed."""
