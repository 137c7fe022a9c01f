"""What every room needs: errors for people, whole-or-absent files, downloads, progress."""
