"""What ``mmx <verb>`` does: one file a verb, each with ``main(arguments) -> exit code``."""
