"""What Trunkline costs: ratios to a yardstick of the same run, medians of several rounds."""
