"""Models: estimators over the encoded matrix, calibration of what they say, and the two as one predictor."""
