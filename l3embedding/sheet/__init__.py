"""Run tracking: a journal beside each run's output, and the Google Sheet that is brought up to it."""
