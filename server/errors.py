"""The errors of the server: what stops its start, and what a request is refused with."""

from ..wire.errors import FieldpostError


class ServerError(FieldpostError):
    """Root of the server's errors."""


class StartFailed(ServerError, SystemExit):
    """
    The server cannot start; the text names the cause and the next step.

    Also a SystemExit: twistd tidies up after any Exception, then Python ends the process with this text and the exit
    code 1 where it would else show a traceback.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = f"fieldpost-server: {text}"


class Stopping(ServerError):
    """The server is on its way down and takes nothing more."""


class Refused(ServerError):
    """
    A request that cannot be served, with what its sender is told.

    `status` is HTTP's; `cause` and `next_step` are for a person; `headers` go along, such as Retry-After.
    """

    def __init__(
        self, status: int, cause: str, next_step: str, *, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(f"{cause}; {next_step}")
        self.status = status
        self.cause = cause
        self.next_step = next_step
        self.headers = headers
