"""The errors people see: what went wrong, where, and what to do."""


class MmbridgeError(Exception):
    """An error that is shown as one line: what, where, what to do."""

    exit_code = 1

    def __init__(self, what: str, *, where: object = None, do: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.do = do
        super().__init__(what)

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        do = f" {self.do}" if self.do else ""
        return f"{where}{self.what}{do}"


class UserError(MmbridgeError):
    """A mistake that the user can mend: a wrong key, a missing file, parts that do not fit. Exit code 2."""

    exit_code = 2


class PluginError(MmbridgeError):
    """A plugin that cannot be loaded, or two that offer the same name. Exit code 2."""

    exit_code = 2
