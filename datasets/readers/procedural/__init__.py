"""Motion that is made up here, so that everything runs without a download."""
