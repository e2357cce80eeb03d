"""One image explained: diagnosis, lesion, demonstrations, page."""
