"""What all pages are built from: drawings, tables, wording, pictures, style."""
