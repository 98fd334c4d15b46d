"""What made it worse: changes in what was measured, lined up with the diary and with the use."""
