"""A drawn dermoscopy dataset with masks as readers outline, for trying things out and for tests."""
