"""What is kept: the database, content-addressed files, the journal."""
