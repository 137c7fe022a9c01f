"""The programs: one for each stage, named like it, and the console command `sea`."""
