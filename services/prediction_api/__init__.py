"""The prediction service: signed model versions over HTTP, as a pure function of the request.

Read it in this order: :mod:`~prediction_api.server` starts the processes, :mod:`~prediction_api.app`
composes one worker's application, :mod:`~prediction_api.served_models` holds the versions, and
:mod:`~prediction_api.predicting` is the road of one request: :mod:`~prediction_api.decoding` →
:mod:`~prediction_api.batching` → :mod:`~prediction_api.answers`.

No process of it imports scikit-learn, pandas, torch or polars; MLflow is imported by the downloader alone.
"""
