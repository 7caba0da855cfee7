"""What every job needs: cluster, command line, paths, progress."""
