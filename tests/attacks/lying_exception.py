"""Exceptions that cannot be printed, and others that lie about their kind."""


class Mute(BaseException):
    def __str__(self):
        raise SystemExit(0)

    __repr__ = __str__


class ToDo(Exception):
    pass


def silu(x):
    if x.ndim == 2:
        raise Mute
    error = type("NotImplementedError", (ToDo,), {})
    raise error("to do")
