"""A finished run as one HTML file: results, precision, cost, parameters, and who learned what, in plain language.

The page loads nothing (its own content security policy forbids it), holds no script, and every word that comes from a
file is escaped. Its pictures are inside it. It shows what PREFIX.run.json and the tables hold and no more: the measured
noise of a decryption is in neither.
"""
