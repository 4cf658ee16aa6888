"""What happened to predictions: the log of all that were answered, from a worker's spool to the object store.

Read it in this order: :mod:`~aforo.monitoring.spool` is what a worker appends to, :mod:`~aforo.monitoring.records` the
form of what it appends, :mod:`~aforo.monitoring.segments` the table that becomes of it,
:mod:`~aforo.monitoring.shipping` the process that carries it to the store, and
:mod:`~aforo.monitoring.prediction_log` how it is read, pruned and forgotten there.

The prediction API imports ``spool``, ``records`` and ``privacy`` alone; none of them needs more than msgspec.
"""
