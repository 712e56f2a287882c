"""Running a study: through DVC, in worktrees, with what git knows of the code.

May import config, devices, core, entry and paths. Only pipeline.py and dvc_config.py may import DVC.
"""
