"""Pictures of one lesion, found through flips, turns, crops, other colours and other photographs."""
