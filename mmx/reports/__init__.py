"""What is read from runs and shown: answers, gains, comparisons, tables and pages."""
