"""Summaries of a cohort with noise of whole people: counts, frequencies, histograms, lists of hits."""
