"""Diagnosers: an image goes in; ranked diagnoses with probabilities, findings and evidence come out."""
