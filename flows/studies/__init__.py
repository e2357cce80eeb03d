"""Studies as commands: they prepare, measure and write their tables."""
