"""Arms trained cell by cell on one budget, and what their figures amount to."""
