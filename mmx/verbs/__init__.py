"""What ``mmx <verb>`` does: one file a verb, each with ``main(arguments) -> exit code``."""

VERBS = {
    "train": "run an experiment, or with -m a sweep of them",
    "rank": "score sources and encoders for a target before training on it",
    "eval": "measure a run's model again on one of its splits",
    "predict": "write a run's predictions for new data",
    "resume": "go on with a run that was interrupted or killed",
    "reproduce": "run a run's config again and compare the numbers",
    "compare": "say what differs between two runs, and which numbers",
    "list": "show all runs under the output folder",
    "rm": "remove run directories, after a question",
    "cache": "list, remove or verify results of stages that are kept",
    "check": "hold a class of your own against the contract of its kind",
    "doctor": "check versions, devices and data, with advice",
    "completion": "print the completion script for bash, zsh or fish",
}
