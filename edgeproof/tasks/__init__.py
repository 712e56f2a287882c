"""Tasks, one file each: a data set, its preprocessing and its score. A task may import only core.

The name of a file here is the name of the task; docs/extending.md lists what the file defines.
"""
