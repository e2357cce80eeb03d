"""Pairs to look at in the report: generated ones beside real ones, and what the gates rejected."""
