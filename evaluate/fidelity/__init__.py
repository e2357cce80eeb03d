"""How near generated pictures come to real ones, in features of networks from elsewhere or of our own."""
