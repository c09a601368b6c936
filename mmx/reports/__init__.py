"""Reports from runs: answers, gains, comparisons, tables and pages."""
