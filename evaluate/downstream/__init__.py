"""The models that generated pairs are for: classifier and segmenter, trained on one loop."""
