"""Ways to draw a pair: from text, as a variation of a real pair, into another pair's skin, to a real outline."""
