"""Sells what is in stock. Started anew for every order; what was sold before is what the log says."""

from collections import Counter

import fabric.handler as pugmark

STOCK = {"tea": 3, "milk": 2}

sold: Counter[str] = Counter()
newest = None
for entry in pugmark.read():
    if entry.event() == "push":
        newest = entry
        if entry.name() == "receipt":
            sold[entry.decode_json()["item"]] += entry.decode_json()["count"]

if newest is None or newest.name():
    pugmark.pause("waiting for an order")  # the newest entry is our own
else:
    order = newest.decode_json()
    item, count = order["item"], order["count"]
    left = STOCK.get(item, 0) - sold[item]
    if count > left:
        pugmark.write(f"no: {count} {item} are wanted, and {left} left", name="refusal")
    else:
        pugmark.write({"item": item, "count": count, "sold": sold[item] + count}, name="receipt")
