"""What happened to predictions: the log of all that were answered, from a worker's spool to the object store.

Read it in this order: :mod:`~aforo.monitoring.spool` is what a worker appends to, :mod:`~aforo.monitoring.segments` the
form of what it appends, :mod:`~aforo.monitoring.shipping` the process that carries it to the store, and
:mod:`~aforo.monitoring.prediction_log` how it is read, pruned and forgotten there.

The prediction API imports ``spool`` and ``privacy`` alone; neither needs more than the standard library.
"""
