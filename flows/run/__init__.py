"""A run on disk: its folder, lock, log and records of finished steps."""
