"""What a manifest is on disk: its rows, shards and header, written whole, read with suspicion, verified."""
