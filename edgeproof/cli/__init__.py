"""The command line: one file for each noun, each with `add_commands` and a function for each command.

It may import every other package, but only inside the functions of its commands: the parser has to start fast.
"""
