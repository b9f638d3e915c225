"""Functions that test programs call; copied beside a program, so this imports nothing of ours."""


def increment(value):
    return value + 1


def count(value):
    yield from range(value)


async def double(value):
    return value * 2


async def twice(value):
    for _ in range(2):
        yield value


def even(value):
    return value if value % 2 == 0 else None


def nothing(value):
    return None


def fails(value):
    raise ValueError("boom")


def dies(value):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def text(value):
    return f"<{value}>"


def infinity(value):
    return {"x": {1, 2}} if value == 0 else object()


def wait_for_ever(value):
    import time

    while True:
        time.sleep(3600)


not_callable = 3


def first(value):
    return value[0]


def same(value):
    return value
