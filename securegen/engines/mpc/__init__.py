"""Multi-party computation: parties that talk over mutual TLS 1.3 and compute on additive shares.

Semi-honest parties and a dealer that colludes with nobody; docs/explanation/threat-model-mpc.md says what breaks otherwise.
"""
