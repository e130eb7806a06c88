"""The verbs of the command line: a module each, imported when called, whose `command` is click's."""
