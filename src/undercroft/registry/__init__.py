"""What models there are: where they come from, what is in their files, what they are called."""
