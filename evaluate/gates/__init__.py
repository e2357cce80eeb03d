"""What a generated pair must pass, judged by models of the training split alone."""
