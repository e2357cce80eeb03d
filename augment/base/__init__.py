"""A base: its checkpoint folder, checked before it is loaded, and the parts of the shipped one."""
