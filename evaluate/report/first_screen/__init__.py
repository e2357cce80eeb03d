"""The four answers that open the report: what came in, what was made, whether it helped, whether it may be used."""
