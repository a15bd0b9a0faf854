"""What users turn to next, beside what needs no learning."""
