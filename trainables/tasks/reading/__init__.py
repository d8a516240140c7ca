"""From the source of a task to its rows: tables, their columns and labels, and texts as token ids."""
