"""How much an adapter is trained on so many pairs, and what keeps a rare class from being copied."""
