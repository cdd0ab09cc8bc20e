"""An exception whose words never end, and one that is its own cause."""


class Endless(Exception):
    def __str__(self):
        while True:
            pass

    __repr__ = __str__


def silu(x):
    raise Endless


def gelu(x):
    group = error = ValueError("y" * 10**6)
    error.__cause__ = error
    for _ in range(2000):
        group = type("Deep", (Exception,), {"parts": group})("z")
        group.__context__ = error
    raise group
