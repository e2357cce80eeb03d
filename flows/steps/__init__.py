"""The steps of a run, each from what the ones before it left in the run folder."""
