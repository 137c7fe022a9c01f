"""The Google Sheet of runs, synced from the journals in their folders."""
