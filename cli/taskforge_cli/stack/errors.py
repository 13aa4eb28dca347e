"""What can go wrong with the local stack. Each error carries its code, what is wrong, and the next thing to do."""

from __future__ import annotations


class StackError(Exception):
    """A failure that the user is told about. Subclasses fix the code and the exit code."""

    code = "STACK_FAILED"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint  #: the exact next thing to do


class NotInitialised(StackError):
    """There is no home folder yet."""

    code = "NOT_INITIALISED"
    exit_code = 6


class ConfigInvalid(StackError):
    """The config file or a TASKFORGE_* variable has a value that is not allowed."""

    code = "CONFIG_INVALID"
    exit_code = 2


class HomeUnusable(StackError):
    """The home folder belongs to somebody else, its path cannot be used, or a secret in it is missing."""

    code = "HOME_UNUSABLE"
    exit_code = 6


class RuntimeMissing(StackError):
    """PostgreSQL, Valkey, Envoy or the supervisor is not installed, or this system cannot run them."""

    code = "RUNTIME_MISSING"
    exit_code = 6


class CheckoutMissing(StackError):
    """The Compose runtime needs a checkout of the repository, and the command was installed without one."""

    code = "CHECKOUT_MISSING"
    exit_code = 6


class ImageMissing(StackError):
    """Docker does not have an image, and Compose could neither pull nor build it."""

    code = "IMAGE_MISSING"
    exit_code = 6


class DockerUnavailable(StackError):
    """Docker or Compose is not installed, or the daemon does not answer."""

    code = "DOCKER_UNAVAILABLE"
    exit_code = 7


class RootUnsupported(StackError):
    """Started as root where PostgreSQL can neither change its user nor get a user namespace."""

    code = "ROOT_UNSUPPORTED"
    exit_code = 6


class PortTaken(StackError):
    """The port that was asked for belongs to another program."""

    code = "PORT_TAKEN"
    exit_code = 6


class StartFailed(StackError):
    """A process does not start; the message holds the end of its log."""

    code = "START_FAILED"


class NotReady(StackError):
    """The processes run but were not ready in time."""

    code = "NOT_READY"
    exit_code = 8


class Busy(StackError):
    """Another command is starting or stopping this stack."""

    code = "STACK_BUSY"
    exit_code = 6


class NotRunning(StackError):
    """The stack is down."""

    code = "STACK_DOWN"
    exit_code = 7


class NoSuchProcess(StackError):
    """The stack has no process of this name."""

    code = "PROCESS_NOT_FOUND"
    exit_code = 5
