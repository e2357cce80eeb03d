"""The official files of public datasets, downloaded from their publishers under a licence that was accepted."""
