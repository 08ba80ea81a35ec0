"""What Trunkline costs: ratios to a yardstick measured in the same run, medians of several rounds."""
