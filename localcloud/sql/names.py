"""How Cloud SQL names things, and Google's words for names that are wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions

API = "https://sqladmin.googleapis.com/v1"
PROJECT_AND_INSTANCE_MOST = 98
_PROJECT = re.compile(r"[a-z][-a-z0-9.:]*")
_INSTANCE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class InstanceName:
    """A project and an instance in it; as text the name under which the store keeps it."""

    project: str
    instance: str

    def __str__(self) -> str:
        return f"projects/{self.project}/instances/{self.instance}"

    @property
    def link(self) -> str:
        """The instance's self link."""
        return f"{API}/{self}"

    @classmethod
    def of(cls, request: Any) -> InstanceName:
        """The instance that a request is about."""
        return cls(request.project, request.instance)

    @classmethod
    def parse(cls, text: str) -> InstanceName:
        _, project, _, instance = text.split("/")
        return cls(project, instance)


def about_instance(request: Any) -> str:
    """The resource that a call on an instance, or on something in it, is about."""
    return str(InstanceName.of(request))


def about_project(request: Any) -> str:
    """The resource that a call on a whole project is about."""
    return f"projects/{request.project}"


def check_instance_name(name: InstanceName) -> None:
    """Raise InvalidArgument for a name that Google does not take.

    Lowercase letters, numbers and hyphens, beginning with a letter, 98 characters at most together with the project:
    https://cloud.google.com/sql/docs/postgres/instance-settings
    """
    whole = f"{name.project}:{name.instance}"
    if not _PROJECT.fullmatch(name.project):
        raise exceptions.InvalidArgument(f"Invalid request: Invalid project name ({name.project}).")
    if not _INSTANCE.fullmatch(name.instance) or len(whole) > PROJECT_AND_INSTANCE_MOST:
        raise exceptions.InvalidArgument(f"Invalid request: Invalid instance name ({name.instance}).")
