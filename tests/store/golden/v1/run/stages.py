"""The functions of the golden run."""


def begin(number):
    return {"number": number, "rounds": number % 3}


def again(item):
    return item


def double(number):
    return 2 * number
