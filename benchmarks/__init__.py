"""Measured claims: every figure in README is rebuilt by a command in here."""
