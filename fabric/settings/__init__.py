"""What is set outside of a program: a project's ``fabric.toml``, its ``.env``, the user's ``config.toml``.

A flag wins over an environment variable, that over ``.env``, that over the project's file, that over the user's, and
that over the default. ``project`` reads the files of settings and lays one over the other, ``values`` what is written
in them, ``dotenv`` reads variables, ``sessions`` knows where durable sessions are kept.
"""

from fabric.settings.dotenv import Variable, find_variables, parse_dotenv, read_dotenv, with_dotenv
from fabric.settings.project import (
    PortRange,
    ProjectHost,
    ProjectLimits,
    ProjectPrice,
    ProjectSettings,
    ProjectWorker,
    Resources,
    Runner,
    locate_keys,
    project_file,
    read_settings,
    user_file,
)
from fabric.settings.sessions import (
    Current,
    Place,
    choose_bucket,
    choose_session,
    forget_current,
    read_current,
    state_home,
    write_current,
)
from fabric.settings.values import AMOUNT_MAX, USD_MAX, check_usd, is_number, read_duration, read_switch

__all__ = [
    "AMOUNT_MAX",
    "USD_MAX",
    "Current",
    "Place",
    "PortRange",
    "ProjectHost",
    "ProjectLimits",
    "ProjectPrice",
    "ProjectSettings",
    "ProjectWorker",
    "Resources",
    "Runner",
    "Variable",
    "check_usd",
    "choose_bucket",
    "choose_session",
    "find_variables",
    "forget_current",
    "is_number",
    "locate_keys",
    "parse_dotenv",
    "project_file",
    "read_current",
    "read_dotenv",
    "read_duration",
    "read_settings",
    "read_switch",
    "state_home",
    "user_file",
    "with_dotenv",
    "write_current",
]
