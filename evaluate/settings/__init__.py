"""What a user may set of benchmark, gates and explain."""
