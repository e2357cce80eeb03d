"""Tests; a package, so that another installed package of this name cannot hide it."""
