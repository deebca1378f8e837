"""Pictures of finished runs, from tables and PREFIX.run.json alone (extra `plot`).

Each picture has a function that computes what it shows (genome, quantiles, distribution) and one that draws it
(association, scores, run). Nothing here reads a key or a ciphertext, and of noise only the planned margin is ever
drawn: what was measured at decryption is secret and stands in no file.
"""
