"""What the results say of a task, in words, tables and figures, for report.html and report.md."""
