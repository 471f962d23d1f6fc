"""Measuring classifiers: metrics, protocols, reports."""
