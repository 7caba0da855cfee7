"""Parts that every job uses: cluster, command line, paths, progress."""
