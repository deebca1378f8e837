"""Runs from Python: every engine by one call, results as frames, plots and a page."""
