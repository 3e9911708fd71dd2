"""What the history means: pure functions over what a reader gives. No web, no database, no clock."""
