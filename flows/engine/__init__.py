"""How units of work are run side by side, watched and stopped."""
