"""What generated pairs are worth: downstream models, gates, arms, statistics, fidelity, reports."""
