"""Break each rule on which delivery rests, in a copy of the sources, and see that the tests notice. Run by CI.

.venv/bin/python tests/mutants.py                # all
.venv/bin/python tests/mutants.py admission      # those whose name has this in it

A mutant is killed if each of its tests fails; of a file, or of a test with parameters, one case. It has survived if one
passes. A mutant whose text is not found once in its file is out of date, and as bad as one that has survived.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("fabric", "agents", "tests")
TIMEOUT_S = 120
"""A test that takes so long waits for what never comes. It has failed, but it should say so sooner."""

RUNS = "tests/simulation/test_runs.py::test_nothing_is_lost_doubled_or_reordered_by_crashes[0]"
SESSION = "tests/session/test_session.py"
BUDGET = "tests/session/test_budget.py"
BUDGETS = "tests/session/test_budget_simulated.py"
SPENDING = "tests/session/test_spending.py"
NO_MORE = "test_no_more_calls_are_made_than_the_budget_has"
NO_MORE_TOKENS = "test_tokens_are_never_more_than_the_budget_has"
DEALING = "tests/session/test_dealing.py"
REPLICAS = "tests/session/test_replicas.py"
WHATEVER = f"{DEALING}::test_whatever_replicas_do_each_message_goes_on_once_and_in_order"
SHARED = "tests/simulation/test_runs.py::test_replicas_lose_double_and_reorder_nothing[0]"
QUIESCENCE = "tests/session/test_quiescence.py"
ROOMS = "tests/session/test_rooms.py"
ATTACHMENT = "tests/session/test_attachment.py"
OUTSIDE = "tests/simulation/test_outside.py::test_nothing_is_lost_doubled_or_reordered_whoever_comes_and_goes"
RECORDER = "tests/runtime/test_recorder.py"
KEEPING = "tests/runtime/test_keeping.py"
KEPT = "tests/simulation/test_kept.py::test_a_session_may_be_killed_at_every_operation_of_its_bucket"
TRANSCRIPT = "tests/session/test_transcripts.py::test_a_session_answers_as_written"
HISTORY = "tests/session/test_history.py"
DURABLE = "tests/simulation/test_durable.py::test_a_session_that_is_killed_does_what_it_would_have_done"
PARTS = "tests/simulation/test_durable.py::test_any_part_of_a_history_is_one"

COMMITS = "tests/simulation/test_commits.py::test_no_push_is_lost_or_doubled_and_every_input_is_answered_once"
COMMIT = "tests/store/test_commit.py"
LOG = "tests/store/test_log.py"
BUCKET = "tests/store/test_bucket.py"
READINESS = "tests/store/test_readiness.py"

PIPELINES = "tests/simulation/test_pipelines.py::test_steps_that_run_at_once_tell_what_they_tell_one_after_the_other"
SCHEDULE = "tests/pipelines/test_schedule.py"
RUNNING = "tests/pipelines/test_running.py"
PACKING = "tests/pipelines/test_packing.py"
ENVELOPE = "tests/pipelines/test_envelope.py"
SERVING = "tests/pipelines/test_serving.py"
REMOTE = "tests/pipelines/test_remote.py"


class Mutant(NamedTuple):
    """A rule, broken.

    Attributes:
        name: of the rule.
        file: where it is kept.
        old: its text there.
        new: what stands there instead.
        tests: those that must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = [
    Mutant(
        "an entry is written before what follows from it",
        "fabric/session/outbox.py",
        "commands.insert(self._recorded_at, Record(tuple(self._entries)))",
        "commands.append(Record(tuple(self._entries)))",
        (f"{HISTORY}::test_what_comes_in_is_recorded_before_anybody_gets_it", DURABLE),
    ),
    Mutant(
        "a turn is recorded with its outputs",
        "fabric/session/durable.py",
        "outputs = tuple(_answer(*held) for held in unacked.outputs)",
        "outputs = tuple(_answer(*held) for held in unacked.outputs[:1])",
        (f"{HISTORY}::test_what_a_worker_made_of_a_message_is_one_entry_before_it_goes_on", DURABLE),
    ),
    Mutant(
        "ids follow from the session and the number of the entry",
        "fabric/session/enacting.py",
        'f"{session}/{number}".encode()',
        "f\"{session}/{number}/{object()}/{__import__('random').random()}\".encode()",
        (f"{HISTORY}::test_ids_follow_from_the_session_and_the_number_of_the_entry", DURABLE, PARTS),
    ),
    Mutant(
        "an entry is enacted to its end before the next one",
        "fabric/session/durable.py",
        "if not self._move(ENTRY_STEPS_MAX):",
        "if not (self.history.reliving or self._move(ENTRY_STEPS_MAX)):",
        (DURABLE, PARTS),
    ),
    Mutant(
        "an agent that is brought back remembers what it had answered",
        "fabric/session/durable.py",
        "if worker.recollection is not None and (worker.remembers or self.history.reliving):",
        "if worker.recollection is not None and worker.remembers:",
        (f"{HISTORY}::test_an_agent_is_given_its_memory_back", DURABLE),
    ),
    Mutant(
        "a control message that was answered is not sent again",
        "fabric/session/control_edge.py",
        "        request.known.append(kind)\n        if len(request.known) == len(request.expected):\n"
        "            self._waiting.remove(request)\n",
        "",
        (DURABLE,),
    ),
    Mutant(
        "what a worker of the past has not finished is given to the next",
        "fabric/session/durable.py",
        "                if (node.name, id_) not in self._given:\n                    node.delivery.offer(message)",
        "                if False:\n                    node.delivery.offer(message)",
        (f"{HISTORY}::test_a_message_that_no_worker_has_done_is_given_again", DURABLE),
    ),
    Mutant(
        "what must not be given twice is noted before it is given",
        "fabric/session/durable.py",
        "if worker.plan.compat and node.standing is not None:",
        "if False:",
        (f"{HISTORY}::test_a_message_that_a_worker_cannot_say_it_has_done_is_not_given_twice",),
    ),
    Mutant(
        "that a merge has closed is an entry",
        "fabric/session/durable.py",
        "        if merge not in self._in_tools:\n            self.history.happen(history.Closed(merge))",
        "        self._closed_merges.add(merge)",
        (f"{HISTORY}::test_what_a_merge_passed_over_is_passed_over_again",),
    ),
    Mutant(
        "an entry at which the session fails is none",
        "fabric/session/enacting.py",
        "            self._out.withdraw(mark)\n",
        "",
        (f"{HISTORY}::test_an_entry_at_which_the_session_fails_is_none",),
    ),
    Mutant(
        "what replicas answer goes on in the order of the input",
        "fabric/session/dealing.py",
        "while order and (order[0].answer is not None or order[0].gone):",
        "for _ in range(len(order)):\n            if order[0].answer is None and not order[0].gone:\n"
        "                order.rotate(-1)\n                continue",
        (f"{REPLICAS}::test_outputs_have_the_order_of_the_input_whoever_is_faster", WHATEVER, SHARED),
    ),
    Mutant(
        "what a replica had that died is dealt again before what is new, in order",
        "fabric/session/dealing.py",
        'self._again = sorted([*self._again, *slots], key=attrgetter("number"))',
        "self.queue.extend(slot.message for slot in slots)",
        (f"{REPLICAS}::test_what_a_replica_had_goes_to_another_and_keeps_its_place", WHATEVER, SHARED),
    ),
    Mutant(
        "what is dealt again goes before what is new",
        "fabric/session/dealing.py",
        "while takers and self._again:",
        "while takers and self._again and not self.queue:",
        (f"{DEALING}::test_what_one_had_that_died_is_dealt_again_in_order_even_if_nothing_new_is",),
    ),
    Mutant(
        "replicas that are ahead of one have a bound",
        "fabric/session/dealing.py",
        "while self.queue and not self.full:",
        "while self.queue:",
        (f"{DEALING}::test_one_that_is_stuck_makes_the_others_wait_when_their_windows_are_full_of_answers",),
    ),
    Mutant(
        "a suspect is dealt to a replica that has nothing",
        "fabric/session/dealing.py",
        "[share for share in takers if not (slot.deaths and share.slots)]",
        "takers",
        (f"{DEALING}::test_one_of_those_that_are_busy_is_spared_for_a_suspect", WHATEVER),
    ),
    Mutant(
        "nothing is dealt behind a suspect",
        "fabric/session/dealing.py",
        "[share for share in shares if not share.tried]",
        "list(shares)",
        (f"{DEALING}::test_a_suspect_is_alone", WHATEVER),
    ),
    Mutant(
        "a node's port ends when those of all replicas have",
        "fabric/session/nodes.py",
        "return all((other.name, port) in self._ended_ports for other in self.workers)",
        "return True",
        (f"{REPLICAS}::test_what_lies_behind_replicas_ends_when_the_last_has",),
    ),
    Mutant(
        "what is released early waits for what came before",
        "fabric/session/dealing.py",
        "return self._dealing.leading is unacked",
        "return True",
        (f"{REPLICAS}::test_what_is_released_early_waits_for_what_came_before",),
    ),
    Mutant(
        "a dead letter is forgiven to all replicas that died of it",
        "fabric/session/nodes.py",
        "other.supervisor.forgive(blamed_for[other.name])",
        "pass",
        (f"{REPLICAS}::test_a_message_that_kills_one_replica_after_the_other_is_a_dead_letter",),
    ),
    Mutant(
        "what comes before the fence is of the past",
        "fabric/session/hearing.py",
        "            if not worker.attachment.done:\n                self._attach(worker, port, frame)\n"
        "                return\n",
        "            if not worker.attachment.done and not isinstance(frame, Data) or port == 'ctrl_out':\n"
        "                self._attach(worker, port, frame)\n                return\n",
        (f"{ATTACHMENT}::test_what_comes_before_is_of_the_past",),
    ),
    Mutant(
        "two probes in a row are the fence",
        "fabric/session/attachment.py",
        "if number in self._proofs and before == number - 1:",
        "if number:",
        (f"{ATTACHMENT}::test_it_runs_when_two_probes_are_back_and_it_has_said_who_it_is", OUTSIDE),
    ),
    Mutant(
        "another process is told by its number",
        "fabric/session/hearing.py",
        "worker.greeting is None or ready.incarnation is None or ready.incarnation != worker.greeting.incarnation",
        "False",
        (f"{ATTACHMENT}::test_another_process_gets_what_the_one_before_had",),
    ),
    Mutant(
        "a probe is known by a nonce of its attachment",
        "fabric/session/session.py",
        'f"{self._rng.getrandbits(64):016x}"',
        'f"{worker.incarnation}"',
        (f"{ATTACHMENT}::test_probes_of_another_session_prove_nothing",),
    ),
    Mutant(
        "memory is set at each attachment, to nothing at the first",
        "fabric/session/worker_state.py",
        "stayed = self.attachment is not None",
        "stayed = False",
        (OUTSIDE,),
    ),
    Mutant(
        "an attempt that is under way is a call",
        "fabric/session/budget.py",
        "-1 if taken.calls >= calls",
        "-1 if self._used.calls >= calls",
        (f"{BUDGET}::test_a_call_that_is_under_way_does_not_come_back", f"{BUDGETS}::{NO_MORE}"),
    ),
    Mutant(
        "what is reserved is not granted again",
        "fabric/session/budget.py",
        "now, then = self._room(asked, self._reserved),",
        "now, then = self._room(asked, _Amount(self._reserved.calls, 0, 0)),",
        (f"{BUDGET}::test_no_limit_is_exceeded_and_everybody_is_answered", f"{BUDGETS}::{NO_MORE_TOKENS}"),
    ),
    Mutant(
        "who is gone has used all that it had reserved",
        "fabric/session/session.py",
        "        self._spending.gone(name)\n        worker.life",
        "        worker.life",
        (f"{SPENDING}::test_who_waits_is_answered_when_another_has_settled",),
    ),
    Mutant(
        "who waits for the budget waits in one row",
        "fabric/session/budget.py",
        "        if behind:\n            return None\n",
        "",
        (f"{BUDGET}::test_a_small_one_does_not_overtake_a_large_one",),
    ),
    Mutant(
        "what was declined is a dead letter once",
        "fabric/session/hearing.py",
        "cause.declined = reason_of(payload) or BUDGET_EXHAUSTED",
        "self._traffic._unpaid(worker, cause)",
        (f"{SPENDING}::test_what_was_declined_and_not_committed_goes_to_the_next_process",),
    ),
    Mutant(
        "outputs are held until the marker is back",
        "fabric/session/hearing.py",
        "if worker.plan.release_early and delivery.leads(cause):",
        "if True:",
        (f"{SESSION}::test_outputs_are_delivered_when_their_marker_is_back", RUNS),
    ),
    Mutant(
        "what was not acknowledged is given again",
        "fabric/session/delivery.py",
        "self.queue.extendleft(unacked.message for unacked in reversed(self._unacked))",
        "pass",
        (f"{TRANSCRIPT}[crash_mid_message]", RUNS),
    ),
    Mutant(
        "redelivery keeps the order",
        "fabric/session/delivery.py",
        "for unacked in reversed(self._unacked))",
        "for unacked in self._unacked)",
        (f"{TRANSCRIPT}[crash_mid_message]", RUNS),
    ),
    Mutant(
        "redelivery goes before what waits",
        "fabric/session/delivery.py",
        "self.queue.extendleft(unacked.message for unacked in reversed(self._unacked))",
        "self.queue.extend(unacked.message for unacked in self._unacked)",
        (RUNS,),
    ),
    Mutant(
        "each process has fresh endpoints",
        "fabric/plan/endpoints.py",
        '    if incarnation == 1 or worker.runner != "process":\n',
        "    if True:\n",
        (RUNS,),
    ),
    Mutant(
        "each process has markers of its own",
        "fabric/session/delivery.py",
        'self._prefix = f"ack/{self.worker}/{incarnation}/"',
        'self._prefix = f"ack/{self.worker}/1/"',
        (f"{TRANSCRIPT}[crash_mid_message]",),
    ),
    Mutant(
        "an agent's memory is given to the next process",
        "fabric/session/worker_state.py",
        'fields["set_memory"] = self.recollection.messages',
        "pass",
        ("tests/session/test_memory.py", RUNS),
    ),
    Mutant(
        "the gap behind the last dump of a memory is filled",
        "fabric/session/recollection.py",
        "return self._base + self._since",
        "return self._base",
        ("tests/session/test_memory.py", RUNS),
    ),
    Mutant(
        "what goes round goes before what enters",
        "fabric/session/traffic.py",
        "            if self._work:\n                source, message = self._work.popleft()",
        "            if self._flow.admitting:\n                self._admit(next(iter(self._flow.admitting)))\n"
        "            elif self._work:\n                source, message = self._work.popleft()",
        (f"{QUIESCENCE}::test_what_goes_round_goes_before_what_enters",),
    ),
    Mutant(
        "what enters a loop waits before it in one row",
        "fabric/session/traffic.py",
        "        if sink.entry:\n            put = partial(self._arrive_before_loop",
        "        if sink.entry and not sink.entry:\n            put = partial(self._arrive_before_loop",
        (ROOMS,),
    ),
    Mutant(
        "what came of one message enters a loop together",
        "fabric/session/loop_entry.py",
        "while self._groups and self._groups[0][0] == first:",
        "while self._groups and not taken:",
        (f"{ROOMS}::test_what_a_fork_made_of_one_message_is_let_in_together",),
    ),
    Mutant(
        "a loop admits only so many",
        "fabric/session/loop_entry.py",
        "return self._line.queued > 0 and self.nodes[0].inside < LOOP_ADMITTED_MAX",
        "return self._line.queued > 0",
        (f"{ROOMS}::test_so_many_are_let_into_a_loop_and_the_others_wait_before_it",),
    ),
    Mutant(
        "a worker is held back by what it feeds",
        "fabric/session/session.py",
        "if not self._traffic.holds_back(node):",
        "if True:",
        (f"{TRANSCRIPT}[back_pressure]", ROOMS),
    ),
    Mutant(
        "outputs are always accepted: no place on a worker's own loop holds it back",
        "fabric/session/rooms.py",
        "if room is not None and component_of.get(sink.end.node) not in own:",
        "if room is not None:",
        (RUNS,),
    ),
    Mutant(
        "who waits for room is let go when there is some",
        "fabric/session/flow_control.py",
        "if room.held and room.roomy:",
        "if room.held and not room.held:",
        (f"{TRANSCRIPT}[back_pressure]",),
    ),
    Mutant(
        "a full slot of a barrier does not hold back for ever",
        "fabric/session/flow_control.py",
        "return self._held_by_slots() if self._held and self.waits_for_partners else None",
        "return None",
        (f"{ROOMS}::test_but_not_for_ever",),
    ),
    Mutant(
        "quiescence: every entry has ended",
        "fabric/session/drain.py",
        "return self._open_entries[number] == 0 and all(map(self._idle, self._workers[number]))",
        "return all(map(self._idle, self._workers[number]))",
        (f"{QUIESCENCE}::test_a_loop_does_not_end_before_every_entry_has", RUNS),
    ),
    Mutant(
        "quiescence: no message of the loop waits in the coordinator",
        "fabric/session/session.py",
        "        if self._traffic.waits or self._failure is not None:\n            return\n        for port",
        "        if self._failure is not None:\n            return\n        for port",
        (f"{QUIESCENCE}::test_a_loop_does_not_end_while_a_message_of_it_waits_in_the_coordinator",),
    ),
    Mutant(
        "quiescence: no message waits for a worker",
        "fabric/session/delivery.py",
        "return not (self._unacked or self.queue)",
        "return not self._unacked",
        (f"{QUIESCENCE}::test_a_loop_does_not_end_while_a_message_waits_for_a_worker", RUNS),
    ),
    Mutant(
        "quiescence: no worker has a message",
        "fabric/session/delivery.py",
        "return not (self._unacked or self.queue)",
        "return not self.queue",
        (
            f"{QUIESCENCE}::test_a_loop_does_not_end_while_a_worker_has_a_message",
            f"{TRANSCRIPT}[loop_drains_while_a_worker_crashes]",
            RUNS,
        ),
    ),
    Mutant(
        "quiescence: control counts",
        "fabric/session/nodes.py",
        "return self.delivery.idle and all(worker.control.idle for worker in self.workers)",
        "return self.delivery.idle",
        (f"{QUIESCENCE}::test_a_loop_does_not_end_while_a_control_message_is_under_way",),
    ),
    Mutant(
        "quiescence: a barrier that cannot fire does not end its loop",
        "fabric/session/drain.py",
        "        node = self._graph.nodes[component.nodes[0]]\n        if not component.loop and node.kind",
        "        node = min((self._graph.nodes[name] for name in component.nodes), key=lambda n: n.kind != 'barrier')\n"
        "        if node.kind",
        (f"{QUIESCENCE}::test_a_loop_does_not_end_with_a_barrier_on_it_that_cannot_fire",),
    ),
    Mutant(
        "quiescence: a barrier with a partner waiting stays open",
        "fabric/session/drain.py",
        "waiting = self._starved(node.id)",
        "waiting = frozenset(port.name for port in node.inputs)",
        (f"{QUIESCENCE}::test_what_waits_in_a_barrier_keeps_it_open",),
    ),
    Mutant(
        "quiescence: a barrier that can fire does so before its loop ends",
        "fabric/session/traffic.py",
        "return bool(self._work or self._pairing.bereaved or self._flow.admitting or self.entrance.waiting)",
        "return bool(self.entrance.waiting)",
        (
            f"{QUIESCENCE}::test_a_loop_does_not_end_before_its_barrier_has_fired",
            f"{QUIESCENCE}::test_a_loop_does_not_end_while_a_message_of_it_waits_in_the_coordinator",
        ),
    ),
    Mutant(
        "sinks stay open until the exit",
        "fabric/session/session.py",
        "            self._out.do(*worker.shutdown.output_ended(self._now_s))\n",
        "            self._out.do(*worker.shutdown.output_ended(self._now_s), Release(worker.name))\n",
        (f"{TRANSCRIPT}[crash_mid_message]",),
    ),
    Mutant(
        "too many restarts are too many",
        "fabric/session/supervise.py",
        "if len(self._crashes) > settings.restarts_max:",
        "if len(self._crashes) > settings.restarts_max + 1:",
        (f"{TRANSCRIPT}[too_many_restarts]",),
    ),
    Mutant(
        "a message that kills again and again becomes a dead letter",
        "fabric/session/delivery.py",
        "            self._deaths += 1\n",
        "            self._deaths += 0\n",
        (f"{TRANSCRIPT}[poison]",),
    ),
    Mutant(
        "a decision that meets another one is dropped",
        "fabric/store/commit.py",
        'if found.kind == self.commit.kind == "handler":',
        "if False:",
        (f"{COMMIT}::test_a_decision_that_meets_another_one_is_dropped", f"{COMMITS}[0]"),
    ),
    Mutant(
        "a commit knows itself after an answer that was lost",
        "fabric/store/commit.py",
        "        if found.id == self.commit.id:\n            return True\n",
        "",
        (f"{COMMIT}::test_a_commit_knows_itself", f"{LOG}::test_a_run_whose_bucket_is_silent_goes_on_where_it_was"),
    ),
    Mutant(
        "a push with a key is looked for in all that is there",
        "fabric/store/commit.py",
        "                if self._is_mine(found):\n                    return Done(seq, found)\n",
        "                pass\n",
        (f"{COMMIT}::test_a_push_with_a_key_is_found_wherever_it_is", f"{COMMITS}[0]"),
    ),
    Mutant(
        "after no answer the same number is asked for",
        "fabric/store/commit.py",
        "            self._unsure += 1\n",
        "            self._unsure += 1\n            self._seq += 1\n",
        (f"{COMMIT}::test_a_commit_knows_itself", f"{COMMITS}[0]"),
    ),
    Mutant(
        "nothing goes past a tombstone",
        "fabric/store/commit.py",
        "        if found.tombstone:\n            return Ended()\n",
        "",
        (f"{COMMIT}::test_nothing_goes_past_a_tombstone", f"{COMMITS}[0]"),
    ),
    Mutant(
        "a push that slipped in makes a pause void",
        "fabric/store/readiness.py",
        "if decided.base < last or last + 1 < len(commits):",
        "if last + 1 < len(commits):",
        (f"{READINESS}::test_what_a_log_waits_for", f"{COMMITS}[20]"),
    ),
    Mutant(
        "a decision directly follows what it saw",
        "fabric/store/readiness.py",
        "position = min(max(commit.base, after), seq)",
        "position = seq",
        (f"{READINESS}::test_a_decision_directly_follows_what_it_saw", f"{COMMITS}[0]"),
    ),
    Mutant(
        "what a handler is given is what its decision says it saw",
        "fabric/store/log.py",
        "(self._tail.commits if self._tail.begun else self.read())[:base]",
        "self.read()[:base]",
        (f"{LOG}::test_what_a_handler_is_given_is_what_its_decision_says_it_saw", f"{COMMITS}[0]"),
    ),
    Mutant(
        "what a commit asks of others is done again at a start",
        "fabric/store/settling.py",
        "return [seq for seq in asking if settled_key(self._manifest.id, seq) not in done or seq in again]",
        "return [seq for seq in asking if seq in again]",
        (f"{LOG}::test_a_bucket_that_fails_after_the_commit_does_not_undo_it", f"{COMMITS}[0]"),
    ),
    Mutant(
        "what earlier commits ask of others is done first",
        "fabric/store/settling.py",
        "            del self._waiting[0]\n",
        "            del self._waiting[0]\n            self._waiting.reverse()\n",
        (f"{LOG}::test_what_a_bucket_did_not_take_is_done_before_what_came_later",),
    ),
    Mutant(
        "a namespace counts for those who saw it",
        "fabric/store/outbox.py",
        "if seq < base}",
        "}",
        (f"{LOG}::test_what_is_memory_was_so_when_it_was_written",),
    ),
    Mutant(
        "a delivery is known by where it was written",
        "fabric/store/log.py",
        "there = self.push([entry], key=key)",
        "there = self.push([entry])",
        (f"{LOG}::test_a_record_for_another_session_is_pushed_there_once", f"{COMMITS}[0]"),
    ),
    Mutant(
        "a run that is unsure finds out before it goes on",
        "fabric/store/log.py",
        "        if unsure is not None:\n            self._appended",
        "        if unsure is not None and unsure.entries == kept:\n            self._appended",
        (f"{LOG}::test_a_run_whose_bucket_is_silent_goes_on_where_it_was",),
    ),
    Mutant(
        "a body that was there is looked for after its commit",
        "fabric/store/log.py",
        "stored.was_there or",
        "False or",
        (f"{BUCKET}::test_a_body_that_is_wanted_again_while_it_is_removed_is_there",),
    ),
    Mutant(
        "a body is removed only after a while",
        "fabric/store/collect.py",
        "if since.get(sha256, now) <= now - older_than_s",
        "if since.get(sha256, now) <= now",
        (f"{BUCKET}::test_a_body_that_nobody_names_is_removed_after_a_while",),
    ),
    Mutant(
        "a gap in a log is damage",
        "fabric/store/tail.py",
        "if len(self.commits) <= listed:",
        "if False:",
        (f"{LOG}::test_a_gap_is_damage",),
    ),
    Mutant(
        "nothing is done before what it follows from is durable",
        "fabric/runtime/recorder.py",
        "if not self._held or isinstance(command, SetTimer | Note):",
        "if True:",
        (f"{RECORDER}::test_what_follows_from_an_entry_waits_until_it_is_durable", f"{KEPT}[chain]"),
    ),
    Mutant(
        "an input that begins in another way is another one",
        "fabric/runtime/keeping.py",
        "                    lines.clear()\n",
        "                    pass\n",
        (f"{KEEPING}::test_the_lines_of_the_last_input_are_known",),
    ),
    Mutant(
        "a step with effects waits for all in front of it",
        "fabric/pipelines/runs/schedule.py",
        'if step.fence or mode == "sequential":',
        'if mode == "sequential":',
        (PIPELINES,),
    ),
    Mutant(
        "nothing begins behind a step with effects before that counts",
        "fabric/pipelines/runs/schedule.py",
        "if step.fence or (step.may_stop and not speculate):",
        "if step.may_stop and not speculate:",
        (PIPELINES,),
    ),
    Mutant(
        "steps that share a mock follow each other",
        "fabric/pipelines/runs/schedule.py",
        "before = {*step.reads, *(last_user[name] for name in step.shares if name in last_user)}",
        "before = {*step.reads}",
        (PIPELINES,),
    ),
    Mutant(
        "what outlives the run begins when it is certain that it is due",
        "fabric/pipelines/runs/schedule.py",
        "if step.certain and last is not None:",
        "if False:",
        (
            f"{SCHEDULE}::test_what_outlives_the_run_waits_until_it_is_certain",
            f"{RUNNING}::test_what_outlives_a_run_is_not_asked_in_vain",
        ),
    ),
    Mutant(
        "replies for a step that does not count are played again",
        "fabric/pipelines/runs/questions.py",
        "reply_number=frame.replies.get(step.model, 0),",
        "reply_number=0,",
        (f"{RUNNING}::test_replies_of_a_mock_that_do_not_count_are_played_again",),
    ),
    Mutant(
        "what a branch leaves is in the order of the file",
        "fabric/pipelines/runs/steps.py",
        "return [*came, *rest, *others(step.otherwise)] if holds else [*others(step.then), *came, *rest]",
        "return [*others(step.otherwise), *others(step.then), *rest, *came]",
        (f"{RUNNING}::test_what_a_branch_leaves_is_in_the_order_of_the_file", PIPELINES),
    ),
    Mutant(
        "a step waits for those that it reads",
        "fabric/pipelines/runs/schedule.py",
        "            self._open[follower] -= 1\n",
        "            self._open[follower] = 0\n",
        (PIPELINES,),
    ),
    Mutant(
        "a function that may be called beside another has no thread that is another's",
        "fabric/pipelines/runs/schedule.py",
        "alone[place] = before[place] == (1 << place) - 1 and bool(behind >> place & 1)",
        "alone[place] = before[place] == (1 << place) - 1",
        ("tests/pipelines/test_schedule.py::test_who_is_alone_follows_from_the_plan",),
    ),
    Mutant(
        "work with effects is left before it is carried out",
        "fabric/pipelines/remote/program.py",
        "    once = has_effects(step)\n",
        "    once = False\n",
        (f"{REMOTE}::test_an_io_whose_worker_dies_is_not_done_again",),
    ),
    Mutant(
        "what was left is carried out once",
        "fabric/pipelines/remote/serving.py",
        "left, self._left = self._left, None",
        "left = self._left",
        (f"{SERVING}::test_nothing_is_carried_out_twice",),
    ),
    Mutant(
        "a process carries out what was left with it",
        "fabric/pipelines/remote/serving.py",
        'if left is None or left[0] != message["number"]:',
        "if left is None:",
        (f"{SERVING}::test_what_was_not_left_here_is_not_carried_out",),
    ),
    Mutant(
        "what a variable holds is sent by its name",
        "fabric/pipelines/remote/packing.py",
        "        if self._pattern is None:\n",
        "        if True:\n",
        (
            f"{PACKING}::test_what_a_variable_holds_travels_by_its_name",
            f"{ENVELOPE}::test_values_of_variables_are_sent_by_name_wherever_they_are",
        ),
    ),
    Mutant(
        "no key is sent",
        "fabric/pipelines/remote/envelope.py",
        'if name == "api_key" and isinstance(packed, str):',
        "if False:",
        (f"{ENVELOPE}::test_another_key_is_refused",),
    ),
    Mutant(
        "a tuple arrives as a tuple",
        "fabric/pipelines/remote/packing.py",
        'return items if kind is list else _tagged("tuple", items)',
        "return items",
        (f"{PACKING}::test_values_arrive_as_they_were",),
    ),
    Mutant(
        "vocabularies are those of the run",
        "fabric/pipelines/remote/envelope.py",
        "{name: _write_vocabulary(work.vocabularies[name])",
        "{name: _write_vocabulary(self._pipeline.vocabularies[name])",
        (f"{ENVELOPE}::test_terms_that_a_vocabulary_has_got_arrive",),
    ),
]


class NoVerdict(Exception):
    """The tests could not be run at all."""


class Verdict(NamedTuple):
    """What came of a mutant: why it is not killed, if it is not; and how long that took."""

    mutant: Mutant
    complaint: str | None
    took_s: float


def pytest_of(directory: Path, tests: tuple[str, ...]) -> str:
    """Run tests in a copy; return what pytest says of each."""
    path = os.pathsep.join([str(directory), str(directory / "agents")])
    arguments = ["-q", "-rA", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist"]
    arguments += ["--hypothesis-profile=unshrunk"]  # that an example fails is enough: it need not be the smallest
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, *tests],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    if done.returncode not in (0, 1):
        raise NoVerdict(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def copied(directory: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", directory)
    for folder in COPIED:
        shutil.copytree(ROOT / folder, directory / folder, ignore=shutil.ignore_patterns("__pycache__"))


def complaint_about(mutant: Mutant) -> str | None:
    """Apply a mutant to a copy and run its tests; return why it is not killed, if it is not."""
    with tempfile.TemporaryDirectory() as copy:
        directory = Path(copy)
        copied(directory)
        file = directory / mutant.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutant.old) != 1:
            return f"its text stands {text.count(mutant.old)} times in {mutant.file}, not once: {mutant.old!r}"
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        try:
            said = pytest_of(directory, mutant.tests)
        except subprocess.TimeoutExpired:
            return None
        except NoVerdict as error:
            return str(error)
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
        passing = [test for test in mutant.tests if not any(found.startswith(test) for found in failed)]
        return f"SURVIVED {', '.join(passing)}" if passing else None


def judged(mutant: Mutant) -> Verdict:
    start = time.perf_counter()
    return Verdict(mutant, complaint_about(mutant), time.perf_counter() - start)


def without_mutant(mutants: list[Mutant]) -> str | None:
    """The tests have to pass in a copy that nobody broke."""
    with tempfile.TemporaryDirectory() as copy:
        directory = Path(copy)
        copied(directory)
        tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        failed = re.findall(r"^(?:FAILED|ERROR) .*", pytest_of(directory, tests), re.MULTILINE)
        return "\n".join(failed) or None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="only mutants with this in their name")
    parser.add_argument("--jobs", type=int, default=2, help="at a time")
    options = parser.parse_args()
    mutants = [mutant for mutant in MUTANTS if options.name in mutant.name]
    if not mutants:
        parser.error(f"no mutant has {options.name!r} in its name")
    broken = without_mutant(mutants)
    if broken is not None:
        print(f"these fail without any mutant:\n{broken}")
        return 1
    survivors = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, complaint, took_s in pool.map(judged, mutants):
            survivors += complaint is not None
            print(f"{'killed  ' if complaint is None else 'ALIVE   '} {took_s:5.1f} s  {mutant.name}", flush=True)
            if complaint is not None:
                print(f"          {complaint}", flush=True)
    print(f"{len(mutants) - survivors} of {len(mutants)} mutants killed")
    return min(survivors, 1)


if __name__ == "__main__":
    sys.exit(main())
