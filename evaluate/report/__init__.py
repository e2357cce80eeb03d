"""The report of a run: report.html, one file that opens offline, and report.md for CI summaries."""
