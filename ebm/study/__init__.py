"""Studies: a question, the arms to compare, seeds; run to a table with intervals and a report."""
