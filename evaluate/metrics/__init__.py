"""Figures of merit, their intervals, and what may be said of a difference."""
