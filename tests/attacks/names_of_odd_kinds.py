"""Functions, exceptions and lines of the file under names that are none."""

import linecache

from answers import wrong

NAMES = ["\ud800", "\0", "", "a" * 10**6, "\u202e\u202e", "<b>", "\x1b[2J", "::error::", 7, None]
calls = []


class Odd:
    def __init__(self, name):
        self.__name__ = name

    def __call__(self, *args):
        return self

    def __getattr__(self, name):
        raise MemoryError(NAMES[len(calls) % 7])


def silu(x):
    calls.append(x)
    name = NAMES[len(calls) % len(NAMES)]
    linecache.cache[__file__] = (1, None, [f"{name} thirty points\n" * 1000] * 100, __file__)
    if len(calls) % 2:
        return wrong(x)[0], Odd(name)
    raise type(str(name)[:50].replace("\0", "").replace("\ud800", ""), (Exception,), {})(name)
