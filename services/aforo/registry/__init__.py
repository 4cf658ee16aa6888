"""What has been learnt, under a name: runs and versions in MLflow, signed bundles, and the ledger of promotions.

The prediction API reads bundles and the mirror without MLflow; nothing is imported here, so that it stays so.
"""
