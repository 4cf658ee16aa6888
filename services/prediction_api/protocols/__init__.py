"""The three protocols that a model answers in: how each one's request becomes rows, and predictions its answer."""
