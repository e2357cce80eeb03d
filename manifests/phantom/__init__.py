"""A drawn dermoscopy dataset with exact masks, for trying things out and for tests."""
