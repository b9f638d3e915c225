"""Run a batch in a process of its own: batch_script.py PIPELINE JOURNAL NOTES ITEMS STOP. Prints ids as they end."""

import sys

from fabric.pipelines.batch import BatchRunner

pipeline, journal, notes, count, stop = sys.argv[1:]
items = ({"id": n, "path": notes, "stop": int(stop)} for n in range(int(count)))
for item_id, context in BatchRunner(pipeline, max_workers=4, progress=False, journal=journal).run(items, resume=True):
    assert not context.failed, context.failure_state
    print(item_id, flush=True)
