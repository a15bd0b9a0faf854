"""Answer requests: HTTP, the command line, stored histories. Stands on `recsys` and `index`."""
