"""What every room needs: errors for users, files written whole or not at all, downloads, progress."""
