"""A source becomes a checked, leak-free manifest, and everything set aside is listed with its reason."""
