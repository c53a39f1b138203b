"""Published data sets, and your own, read in their official layouts."""
