"""What every stage of a run stands on: its context, data, model and cache."""
