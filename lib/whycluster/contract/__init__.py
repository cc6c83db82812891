"""What every method owes: checked input, settings, answers to "why?", files."""
