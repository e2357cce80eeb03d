"""Parts of a run, each a smaller run in a folder of its own with a generator that saw nothing else."""
