"""What lies in a folder of pictures, masks and tables, and the rows that come of it."""
