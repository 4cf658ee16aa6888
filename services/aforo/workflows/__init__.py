"""The steps of a run. Each reads the manifest of the step before it, and writes its own last."""
