"""Local pages about manifests and runs: the guarded server, walking through pairs, reviewing, reader studies."""
