"""What can be called and is no function: coroutine, generator, an object that lies of itself."""


async def silu(x):
    return x, lambda g: (g,)


def gelu(x):
    while True:
        yield x


class Callable:
    def __call__(self, *args):
        return args[0], self

    def __getattr__(self, name):
        return self

    @property
    def __signature__(self):
        while True:
            pass


swiglu = Callable()
