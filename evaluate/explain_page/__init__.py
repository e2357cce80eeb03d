"""The page of explained images: one file that opens offline, and the same content for the local server."""
