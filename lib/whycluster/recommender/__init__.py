"""ClustRecNet: which clustering algorithm suits this table? Tables and labels need no torch."""
