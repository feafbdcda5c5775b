"""Commands made from a registry: one for each member, options from its fields, help from its docstring."""

from __future__ import annotations

import inspect
import re
from abc import abstractmethod

import click

from phosphene.cli.options import from_fields
from phosphene.core.registry import Named


class Members(click.Group):
    """A group with one command for each member of a registry."""

    @abstractmethod
    def registry(self) -> type[Named]:
        """The base class of the members."""

    @abstractmethod
    def command_of(self, member: type[Named]) -> click.Command:
        """The command that runs a member, without the options that its fields make."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of the members."""
        return sorted(self.registry().table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:  # noqa: ARG002
        """The command of a member.

        Raises:
            OptionError: no member has that name.
        """
        member = self.registry().find(cmd_name)
        return generated(member, self.command_of(member))


def generated(member: type[Named], command: click.Command) -> click.Command:
    """A command with the name, the help and the options of a member of a registry.

    Args:
        member: whose fields become options.
        command: that runs it.
    """
    # Paragraphs as they stand; the options and their help are listed below, the example is for Python.
    paragraphs = re.split(r"\n\n", inspect.cleandoc(member.__doc__ or "").partition(">>>")[0].strip())
    command.name, command.short_help = member.name, member.summary()
    command.help = "\n\n".join(f"\b\n{text}" for text in paragraphs if not text.startswith("Args:"))
    command.params[1:1] = from_fields(member)
    return command
