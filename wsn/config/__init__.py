"""Configuration: making objects of config nodes, reading command lines, and checks that need no torch.

Imported before anything heavy, so that ``--help`` and mistakes answer within a second.
"""

from wsn.config.check import check
from wsn.config.command_line import command_line, explain, main_errors, require_plugin
from wsn.config.make import CONF, build, build_data, build_group, compose, config_dir, to_python
from wsn.config.moved import migrate, migrate_state

__all__ = [
    "CONF",
    "build",
    "build_data",
    "build_group",
    "check",
    "command_line",
    "compose",
    "config_dir",
    "explain",
    "main_errors",
    "migrate",
    "migrate_state",
    "to_python",
    "require_plugin",
]
