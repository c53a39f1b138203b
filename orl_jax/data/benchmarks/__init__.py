"""Published data sets, and one's own, read in the layouts in which they are given out."""
