"""A file that never finishes loading."""


def silu(x):
    return x


while True:
    pass
