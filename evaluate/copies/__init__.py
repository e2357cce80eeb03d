"""Whether a picture copies a real training picture."""
