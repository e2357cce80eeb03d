"""What people say of pictures: their decisions, how far they agree, and the statistics of reader studies."""
