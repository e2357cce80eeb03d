"""Studies of the generator and of demonstrations, each a table by its own command."""
