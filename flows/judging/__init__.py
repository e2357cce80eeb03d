"""The steps that tell what generated pairs are worth: parts of a run, external sets, benchmark, results, report."""
