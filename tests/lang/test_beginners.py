"""Mistakes of somebody who writes a first program, and all that is said of them, to the letter.

What is said should name a mistake once, and say what to do next.
"""

from __future__ import annotations

from textwrap import dedent

from fabric.lang.check import check_source
from fabric.lang.diagnostic import render_all
from fabric.lang.source import Source


def said_of(program):
    _, diagnostics = check_source(Source("main.plumb", dedent(program).strip("\n")))
    return render_all(diagnostics)


def expected(text):
    return dedent(text).strip("\n")


def test_no_streams():
    """Without any '!' the body is refused, and the agent, of which it was an old form, gets a warning."""
    program = """
        let writer : string -> string = agent { provider: "eliza" }
        let main : string -> string = plumb(task, done) {
          task ; writer ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0405]: a plumb takes and gives streams, this signature has bare types
           ┌─ main.plumb:2:12
           │
         2 │ let main : string -> string = plumb(task, done) {
           │            ^^^^^^^^^^^^^^^^
           │
           = help: write '!' on both sides: !A -> !B
           = more: fabric explain E0405

        warning[W0112]: the signature of 'writer' without '!' is an old form
           ┌─ main.plumb:1:14
           │
         1 │ let writer : string -> string = agent { provider: "eliza" }
           │              ^^^^^^^^^^^^^^^^
           │
           = help: write '!' on both sides: !A -> !B
           = more: fabric explain W0112

        1 error, 1 warning · nothing was started, no tokens spent
    """)


def test_one_stream():
    """A signature with '!' on one side only."""
    program = """
        let writer : !string -> string = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task ; writer ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0405]: the signature of 'writer' mixes a stream and a bare type
           ┌─ main.plumb:1:14
           │
         1 │ let writer : !string -> string = agent { provider: "eliza" }
           │              ^^^^^^^^^^^^^^^^^
           │
           = help: write '!' on both sides: !A -> !B
           = more: fabric explain E0405

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_wrong_field():
    """A field that the messages do not have, nearly."""
    program = """
        type Check = { pass: bool, why: string }
        let verify : !string -> !Check = agent { provider: "eliza" }
        let main : !string -> !string = plumb(text, why) {
          text ; verify ; filter(passed = false) ; map(why) ; why
        }
    """
    assert said_of(program) == expected("""
        error[E0414]: there is no field 'passed' in Check
           ┌─ main.plumb:4:26
           │
         4 │   text ; verify ; filter(passed = false) ; map(why) ; why
           │                          ^^^^^^
           │
           = its fields are: pass, why
           = help: did you mean 'pass'?
           = more: fabric explain E0414

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_mismatch():
    """An agent gives a record where the next one takes text."""
    program = """
        type Draft = { title: string, body: string }
        let writer : !string -> !Draft = agent { provider: "eliza" }
        let critic : !string -> !string = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task ; writer ; critic ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0412]: cannot wire !Draft to input of type !string
           ┌─ main.plumb:5:10
           │
         3 │ let critic : !string -> !string = agent { provider: "eliza" }
           │              ------- expected because 'critic' takes !string
           ·
         5 │   task ; writer ; critic ; done
           │          ^^^^^^ 'writer' produces !Draft (line 2)
           │
           = help: did you mean  writer ; map(title) ; critic ?
           = more: fabric explain E0412

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_feedback():
    """What comes back on a loop is of another type than what comes in."""
    program = """
        type Check = { pass: bool, why: string, body: string }
        let writer : !string -> !string = agent { provider: "eliza" }
        let verify : !string -> !Check = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task ; writer ; verify
          verify ; filter(pass = false) ; map({ fix: why }) ; writer
          verify ; filter(pass = true).body ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0412]: cannot wire !{ fix: string } to input of type !string
           ┌─ main.plumb:6:35
           │
         2 │ let writer : !string -> !string = agent { provider: "eliza" }
           │              ------- expected because 'writer' takes !string
           ·
         6 │   verify ; filter(pass = false) ; map({ fix: why }) ; writer
           │                                   ^^^^^^^^^^^^^^^^^ 'map' produces !{ fix: string }
           │
           = help: make a !string of it, or let 'writer' take it as well: !(string | { fix: string })
           = more: fabric explain E0412

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_misspelt():
    """Two letters are swapped."""
    program = """
        let composer : !string -> !string = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task ; compsoer ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0202]: there is no process, port or channel 'compsoer'
           ┌─ main.plumb:3:10
           │
         3 │   task ; compsoer ; done
           │          ^^^^^^^^
           │
           = help: did you mean 'composer'?
           = more: fabric explain E0202

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_unfed():
    """An agent that speaks, and is spoken to by nobody."""
    program = """
        let writer : !string -> !string = agent { provider: "eliza" }
        let critic : !string -> !string = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task ; writer ; done
          critic ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0501]: nothing feeds 'critic'
           ┌─ main.plumb:5:3
           │
         5 │   critic ; done
           │   ^^^^^^ needs !string
           │
           = help: wire something to it: task ; critic
           = more: fabric explain E0501

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_no_semicolon_first():
    """After the first name of a chain."""
    program = """
        let writer : !string -> !string = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task writer ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0504]: this statement wires nothing
           ┌─ main.plumb:3:3
           │
         3 │   task writer ; done
           │   ^^^^
           │
           = help: is a ';' missing?  task ; writer
           = more: fabric explain E0504

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_no_semicolon_later():
    """In the middle of a chain, where two chains would do."""
    program = """
        let writer : !string -> !string = agent { provider: "eliza" }
        let critic : !string -> !string = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task ; writer critic ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0501]: nothing feeds 'critic'
           ┌─ main.plumb:4:17
           │
         4 │   task ; writer critic ; done
           │                 ^^^^^^ needs !string
           │
           = help: is a ';' missing?  writer ; critic
           = more: fabric explain E0501

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_comma():
    """Names between commas."""
    program = """
        let writer : !string -> !string = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task, writer, done
        }
    """
    assert said_of(program) == expected("""
        error[E0101]: expected ';' between processes, found ','
           ┌─ main.plumb:3:7
           │
         3 │   task, writer, done
           │       ^ expected ';'
           │
           = help: processes are joined by ';', as in  a ; b
           = more: fabric explain E0101

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_arrow():
    """Names between arrows."""
    program = """
        let writer : !string -> !string = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task -> writer -> done
        }
    """
    assert said_of(program) == expected("""
        error[E0101]: expected ';' between processes, found '->'
           ┌─ main.plumb:3:8
           │
         3 │   task -> writer -> done
           │        ^^ expected ';'
           │
           = help: processes are joined by ';', as in  a ; b
           = more: fabric explain E0101

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_semicolons_at_ends():
    """As in languages where each statement ends with one; the one in the middle is a chain that goes on."""
    program = """
        let writer : !string -> !string = agent { provider: "eliza" };
        let main : !string -> !string = plumb(task, done) {
          task ; writer ;
          writer ; done ;
        }
    """
    assert said_of(program) == expected("""
        error[E0101]: expected a declaration, found ';'
           ┌─ main.plumb:1:62
           │
         1 │ let writer : !string -> !string = agent { provider: "eliza" };
           │                                                              ^ expected 'let', 'type', 'protocol' or 'use'
           │
           = help: a declaration has no ';' behind it
           = more: fabric explain E0101

        error[E0101]: expected a process here, found '}'
           ┌─ main.plumb:5:1
           │
         5 │ }
           │ ^ expected a process
           │
           = help: the last process of a chain has no ';' behind it

        2 errors, 0 warnings · nothing was started, no tokens spent
    """)


def test_record():
    """A record where a map belongs."""
    program = """
        type Note = { text: string }
        let writer : !string -> !string = agent { provider: "eliza" }
        let main : !string -> !Note = plumb(task, done) {
          task ; writer ; { text: value } ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0101]: expected a process here, found '{'
           ┌─ main.plumb:4:19
           │
         4 │   task ; writer ; { text: value } ; done
           │                   ^ expected a process
           │
           = help: to make a record write  map({ ... })
           = more: fabric explain E0101

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_key_misspelt():
    """A warning: the program runs without it."""
    program = """
        let writer : !string -> !string = agent { provider: "eliza", modle: "doctor" }
        let main : !string -> !string = plumb(task, done) { task ; writer ; done }
    """
    assert said_of(program) == expected("""
        warning[W0610]: an agent does not know the key 'modle'
           ┌─ main.plumb:1:62
           │
         1 │ let writer : !string -> !string = agent { provider: "eliza", modle: "doctor" }
           │                                                              ^^^^^
           │
           = help: did you mean 'model'?
           = more: fabric explain W0610

        0 errors, 1 warning
    """)


def test_no_quotes():
    """A string of one word without quotes."""
    program = """
        let writer : !string -> !string = agent { provider: eliza }
        let main : !string -> !string = plumb(task, done) { task ; writer ; done }
    """
    assert said_of(program) == expected("""
        error[E0602]: a string needs quotes: "eliza"
           ┌─ main.plumb:1:53
           │
         1 │ let writer : !string -> !string = agent { provider: eliza }
           │                                                     ^^^^^
           │
           = help: write "eliza"
           = more: fabric explain E0602

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_no_quotes_dashes():
    """A string with dashes without quotes."""
    program = """
        let writer : !string -> !string = agent { provider: "anthropic" model: claude-haiku-4-5 }
        let main : !string -> !string = plumb(task, done) { task ; writer ; done }
    """
    assert said_of(program) == expected("""
        error[E0101]: expected a key or '}' in this configuration, found '-'
           ┌─ main.plumb:1:78
           │
         1 │ let writer : !string -> !string = agent { provider: "anthropic" model: claude-haiku-4-5 }
           │                                         - '{' was opened here
           │                                                                              ^ expected a key or '}'
           │
           = help: a string needs quotes: "..."
           = more: fabric explain E0101

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_equals():
    """A key and its value with '='."""
    program = """
        let writer : !string -> !string = agent { provider = "eliza" }
        let main : !string -> !string = plumb(task, done) { task ; writer ; done }
    """
    assert said_of(program) == expected("""
        error[E0101]: expected ':' after the key 'provider', found '='
           ┌─ main.plumb:1:52
           │
         1 │ let writer : !string -> !string = agent { provider = "eliza" }
           │                                                    ^ expected ':'
           │
           = help: a key and its value are separated by ':'
           = more: fabric explain E0101

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_output_read():
    """A chain that starts with an output."""
    program = """
        let writer : !string -> !string = agent { provider: "eliza" }
        let critic : !string -> !string = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task ; writer ; done
          done ; critic
        }
    """
    assert said_of(program) == expected("""
        error[E0504]: 'done' is an output of this body: messages go there, none come from it
           ┌─ main.plumb:5:3
           │
         5 │   done ; critic
           │   ^^^^
           │
           = help: take what 'done' gets from where it comes:  a ; done  and  a ; b
           = more: fabric explain E0504

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_input_written():
    """A chain that ends with an input."""
    program = """
        let writer : !string -> !string = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task ; writer ; done
          writer ; task
        }
    """
    assert said_of(program) == expected("""
        error[E0504]: 'task' is an input of this body: messages come from it, none can go there
           ┌─ main.plumb:4:12
           │
         4 │   writer ; task
           │            ^^^^
           │
           = help: send them to the process that 'task' feeds:  task ; a  makes  b ; a
           = more: fabric explain E0504

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_two_into_output():
    """Two agents into one output, of which one gives something else."""
    program = """
        type Check = { pass: bool }
        let writer : !string -> !string = agent { provider: "eliza" }
        let verify : !string -> !Check = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task ; (writer * verify) ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0412]: cannot wire !Check to output 'done' of type !string
           ┌─ main.plumb:5:20
           │
         4 │ let main : !string -> !string = plumb(task, done) {
           │                       ------- expected because output 'done' takes !string
         5 │   task ; (writer * verify) ; done
           │                    ^^^^^^ 'verify' produces !Check (line 3)
           │
           = help: make a !string of it, or let output 'done' take it as well: !(string | Check)
           = more: fabric explain E0412

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_two_into_tuple():
    """Two agents into one that takes pairs, without a barrier: one mistake, said once."""
    program = """
        let pro : !string -> !string = agent { provider: "eliza" }
        let con : !string -> !string = agent { provider: "eliza" }
        let judge : !(string, string) -> !string = agent { provider: "eliza" }
        let main : !string -> !string = plumb(task, done) {
          task ; (pro * con) ; judge ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0412]: cannot wire !string to input of type !(string, string)
           ┌─ main.plumb:5:11
           │
         3 │ let judge : !(string, string) -> !string = agent { provider: "eliza" }
           │             ----------------- expected because 'judge' takes !(string, string)
           ·
         5 │   task ; (pro * con) ; judge ; done
           │           ^^^ 'pro' produces !string (line 1)
           │
           = help: join several streams into tuples with a barrier: (a * b) ; barrier
           = more: fabric explain E0412

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_single_quotes():
    """A string in the quotes of other languages."""
    program = """
        let writer : !string -> !string = agent { provider: 'eliza' }
        let main : !string -> !string = plumb(task, done) { task ; writer ; done }
    """
    assert said_of(program) == expected("""
        error[E0102]: unexpected character '''
           ┌─ main.plumb:1:53
           │
         1 │ let writer : !string -> !string = agent { provider: 'eliza' }
           │                                                     ^^^^^^^
           │
           = help: strings are written with straight double quotes: "..."
           = more: fabric explain E0102

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_agent_in_body():
    """A declaration inside of a body, after which all goes on as if it stood before."""
    program = """
        let main : !string -> !string = plumb(task, done) {
          let writer : !string -> !string = agent { provider: "eliza" }
          task ; writer ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0101]: a process cannot be declared inside of a body
           ┌─ main.plumb:2:3
           │
         2 │   let writer : !string -> !string = agent { provider: "eliza" }
           │   ^^^
           │
           = help: move 'let writer ...' out of the body; the body mentions it by its name
           = more: fabric explain E0101

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_word_and():
    """A logical word."""
    program = """
        type Grade = { mark: int, why: string }
        let grade : !string -> !Grade = agent { provider: "eliza" }
        let main : !string -> !Grade = plumb(task, done) {
          task ; grade ; filter(mark > 3 and why != "") ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0101]: expected ')' after the argument of 'filter', found 'and'
           ┌─ main.plumb:4:34
           │
         4 │   task ; grade ; filter(mark > 3 and why != "") ; done
           │                        - '(' was opened here
           │                                  ^^^ expected ')'
           │
           = help: the logical 'and' is written '&&'
           = more: fabric explain E0101

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_no_main():
    """The one that has the others is meant."""
    program = """
        let writer : !string -> !string = agent { provider: "eliza" }
        let critic : !string -> !string = agent { provider: "eliza" }
        let pipeline : !string -> !string = plumb(task, done) { task ; writer ; critic ; done }
    """
    assert said_of(program) == expected("""
        error[E0206]: which process is to run? There is no 'main', and there are 3: 'writer', 'critic', 'pipeline'
           ┌─ main.plumb:3:88
           │
         3 │ let pipeline : !string -> !string = plumb(task, done) { task ; writer ; critic ; done }
           │                                                                                        ^
           │
           = help: give 'pipeline' the name 'main'
           = more: fabric explain E0206

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_agent_in_chain():
    """A configuration inside of a chain."""
    program = """
        let main : !string -> !string = plumb(task, done) {
          task ; agent { provider: "eliza" } ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0101]: expected a process here, found the reserved word 'agent'
           ┌─ main.plumb:2:10
           │
         2 │   task ; agent { provider: "eliza" } ; done
           │          ^^^^^ expected a process
           │
           = help: declare it before this body, with a name:  let a : !A -> !B = agent { ... }
           = more: fabric explain E0101

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_number_in_quotes():
    """A number in quotes."""
    program = """
        type Grade = { mark: int }
        let grade : !string -> !Grade = agent { provider: "eliza" }
        let main : !string -> !Grade = plumb(task, done) {
          task ; grade ; filter(mark > "70") ; done
        }
    """
    assert said_of(program) == expected("""
        error[E0413]: '>' orders two numbers or two strings, not int and string
           ┌─ main.plumb:4:30
           │
         4 │   task ; grade ; filter(mark > "70") ; done
           │                         ---- int
           │                              ^
           │                                ---- string
           │
           = help: write the number without quotes
           = more: fabric explain E0413

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_ports_outside():
    """A chain outside of a body has no ports to name; said once."""
    program = """
        let writer : !string -> !string = agent { provider: "eliza" }
        let main : !string -> !string = input ; writer ; output
    """
    assert said_of(program) == expected("""
        error[E0202]: there is no 'input' here: this chain stands outside of a body
           ┌─ main.plumb:2:33
           │
         2 │ let main : !string -> !string = input ; writer ; output
           │                                 ^^^^^
           │
           = help: leave 'input' and 'output' out, or write  plumb(input, output) { ... }
           = more: fabric explain E0202

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_fields():
    """Fields between semicolons."""
    program = """
        type Check = { pass: bool; why: string }
        let verify : !string -> !Check = agent { provider: "eliza" }
        let main : !string -> !Check = plumb(task, done) { task ; verify ; done }
    """
    assert said_of(program) == expected("""
        error[E0101]: expected ',' or '}' in this record type, found ';'
           ┌─ main.plumb:1:26
           │
         1 │ type Check = { pass: bool; why: string }
           │              - '{' was opened here
           │                          ^ expected ',' or '}'
           │
           = help: fields are separated by ','
           = more: fabric explain E0101

        1 error, 0 warnings · nothing was started, no tokens spent
    """)
