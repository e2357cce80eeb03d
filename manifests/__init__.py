"""What a pair is and where it lives: schema, sources, splits, reading, writing, verification."""
