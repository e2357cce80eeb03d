"""Datasets as people download them: one module per layout, recognised by what lies in the folder."""
