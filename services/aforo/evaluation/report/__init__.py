"""The report: one page that a person reads to believe, or not to believe, a model."""

from aforo.evaluation.report.page import ModelCard, render

__all__ = ["ModelCard", "render"]
