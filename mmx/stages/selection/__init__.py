"""What chooses before a run, without the test split: ranking and search."""
