/* A worker in C, written from fabric/wire/PROTOCOL.md; the numbers in comments are its sections.
 *
 *     worker upper      a JSON string in capitals (ASCII)
 *     worker increment  an integer and one
 *     worker echo       what it got
 *     worker -t ...     tells on its telemetry port how long each message was
 *     worker -c FILE    dies of the first message that is "die" or 13, if there is no FILE yet; then there is
 *     worker -d FILE    the same, when it has sent the answer and not yet the marker
 *
 *     cc -O2 -std=c11 -o worker worker.c -lzmq
 */
#define _POSIX_C_SOURCE 200809L
#include <ctype.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

enum { FRAME_MAX = 16 * 1024 * 1024, TOPIC_MAX = 255, HEADER = 35, BATCH_FRAMES_MAX = 10000 }; /* 9, 2.3 */
enum { MARKER = 1, TRACED = 2, BATCH = 3 };                                                    /* 2.2 */

typedef struct { const uint8_t *at; size_t size; } Bytes;
typedef struct { uint8_t *at; size_t size, room; } Buffer;
typedef struct { void *socket; uint64_t seq; } Port;                                           /* 2.9: numbers of a port */

static const char *name = "worker";
static Port data_in, data_out, ctrl_in, ctrl_out, telemetry; /* socket NULL: it is not there (1.2) */
static Buffer outbox;                                        /* frames of a batch, without its head (2.8) */
static unsigned outbox_frames;
static bool paused, stopping;
static const char *what = "echo", *die_before = "", *die_after = "";
static bool tell;

static void fail(const char *code, const char *text) { /* 1.5, 10.1 */
    fprintf(stderr, "{\"error\":\"worker %s: %s\",\"code\":\"%s\"}\n", name, text, code);
    exit(1);
}

/* --- Bytes ------------------------------------------------------------------------------------------------------- */

static void append(Buffer *to, const void *at, size_t size) {
    if (to->size + size > to->room) {
        to->room = 2 * (to->size + size) + 64;
        if (!(to->at = realloc(to->at, to->room))) fail("memory", "no memory left");
    }
    if (size) memcpy(to->at + to->size, at, size);
    to->size += size;
}

static void append_int(Buffer *to, uint64_t value, int size) { /* big-endian (2.1) */
    for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) append(to, &(uint8_t){(uint8_t)(value >> shift)}, 1);
}

static uint32_t read_u32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t span_id(void) { /* unique: a random start, then counting */
    static uint64_t next;
    if (!next) {
        FILE *file = fopen("/dev/urandom", "rb");
        if (!file || fread(&next, sizeof next, 1, file) != 1) fail("random", "no /dev/urandom");
        fclose(file);
    }
    return ++next;
}

/* --- Frames out (2) ----------------------------------------------------------------------------------------------- */

static void frame(Buffer *to, Bytes payload) {
    size_t size = strlen(name);
    append_int(to, size, 4);
    append(to, name, size);
    append(to, payload.at, payload.size);
}

static void send_now(Port *port, const void *at, size_t size) {
    if (zmq_send(port->socket, at, size, 0) < 0) fail("send", zmq_strerror(zmq_errno()));
}

static void send_frame(Port *port, Bytes payload) {
    if (!port->socket) return;
    Buffer made = {0};
    frame(&made, payload);
    send_now(port, made.at, made.size);
    free(made.at);
}

static void say(Port *port, const char *json) { send_frame(port, (Bytes){(const uint8_t *)json, strlen(json)}); }

static void flush(void) { /* what is held back to fill a batch is late (2.8) */
    if (outbox_frames == 1) send_now(&data_out, outbox.at + 4, outbox.size - 4);
    if (outbox_frames > 1) {
        Buffer batch = {0};
        append(&batch, "\0\0\0\0\3", 5);
        append(&batch, outbox.at, outbox.size);
        send_now(&data_out, batch.at, batch.size);
        free(batch.at);
    }
    outbox.size = outbox_frames = 0;
}

static void output(Bytes payload) {
    size_t size = 4 + strlen(name) + payload.size;
    if (outbox.size + size > 256 * 1024 || outbox_frames == 1000) flush();
    append_int(&outbox, size, 4);
    frame(&outbox, payload);
    outbox_frames++;
}

/* The answer to a message, or a remark about it (2.4): bare if it was bare. */
static Buffer answer_to(Bytes header, Port *port, Bytes json) {
    Buffer made = {0};
    if (header.size) {
        append(&made, header.at, 18);              /* 0x02, flags, trace id */
        append_int(&made, span_id(), 8);
        append_int(&made, ++port->seq, 8);
        append_int(&made, 1, 1);
        append(&made, header.at + 18, 8);          /* its one parent */
    }
    append(&made, json.at, json.size);
    return made;
}

/* --- The work ----------------------------------------------------------------------------------------------------- */

static void in_capitals(Buffer *to, Bytes json) {
    for (size_t i = 0; i < json.size; i++) {
        if (json.at[i] == '\\' && i + 1 < json.size) { /* an escape stays as it is, also the digits of \u00e9 */
            size_t size = json.at[i + 1] == 'u' ? 6 : 2;
            if (i + size > json.size) size = json.size - i;
            append(to, json.at + i, size);
            i += size - 1;
        } else {
            append(to, &(uint8_t){(uint8_t)toupper(json.at[i])}, 1);
        }
    }
}

static void incremented(Buffer *to, Bytes json) {
    char digits[32] = "";
    if (json.size >= sizeof digits) fail("input", "an integer of more than 31 digits");
    memcpy(digits, json.at, json.size);
    int size = snprintf(digits, sizeof digits, "%lld", strtoll(digits, NULL, 10) + 1);
    append(to, digits, (size_t)size);
}

static void die_if(const char *file, Bytes json) {
    bool deadly = (json.size == 5 && !memcmp(json.at, "\"die\"", 5)) || (json.size == 2 && !memcmp(json.at, "13", 2));
    if (!*file || !deadly || access(file, F_OK) == 0) return;
    FILE *made = fopen(file, "w");
    if (!made) fail("file", "cannot write the file of -c or -d");
    fclose(made);
    abort();
}

static void do_message(Bytes header, Bytes json) {
    die_if(die_before, json);
    if (tell && telemetry.socket) {
        char text[64];
        int size = snprintf(text, sizeof text, "{\"kind\":\"seen\",\"bytes\":%zu}", json.size);
        Buffer remark = answer_to(header, &telemetry, (Bytes){(const uint8_t *)text, (size_t)size});
        send_frame(&telemetry, (Bytes){remark.at, remark.size});
        free(remark.at);
    }
    Buffer made = {0};
    if (!strcmp(what, "upper")) in_capitals(&made, json);
    else if (!strcmp(what, "increment")) incremented(&made, json);
    else append(&made, json.at, json.size);
    Buffer answer = answer_to(header, &data_out, (Bytes){made.at, made.size});
    output((Bytes){answer.at, answer.size});
    free(answer.at);
    free(made.at);
    if (*die_after) {
        flush();
        die_if(die_after, json);
    }
}

static void forward(Bytes marker) { /* behind all that the messages before it made, on each port (3.3, 3.4) */
    output(marker);
    send_frame(&telemetry, marker);
    send_frame(&ctrl_out, marker);
}

/* --- Control (6) -------------------------------------------------------------------------------------------------- */

static const char *space(const char *at) { return at + strspn(at, " \t\r\n"); }

static const char *skip_string(const char *at) { /* at its first quote; returns what is behind its last */
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1]) at++;
    return *at ? at + 1 : at;
}

static const char *skip_value(const char *at) {
    int depth = 0;
    do {
        at = space(at);
        if (*at == '"') at = skip_string(at);
        else if (*at == '{' || *at == '[') depth++, at++;
        else if (*at == '}' || *at == ']') depth--, at++;
        else if (*at == ',' || *at == ':') at++;
        else at += strcspn(at, " \t\r\n,:{}[]\"");
    } while (depth > 0 && *at);
    return at;
}

static void obey(Bytes json) { /* unknown fields are ignored; one with a wrong type refuses the whole object (6.1) */
    char *text = strndup((const char *)json.at, json.size);
    bool pause = false, resume = false, stop = false, sound = true;
    const char *at = space(text);
    if (*at == '{') {
        at = space(at + 1);
        while (*at == '"') {
            const char *key = at + 1, *key_end = skip_string(at);
            size_t size = (size_t)(key_end - key) - 1;
            at = space(key_end);
            const char *value = space(*at == ':' ? at + 1 : at);
            at = skip_value(value);
            bool yes = at - value == 4 && !memcmp(value, "true", 4), no = at - value == 5 && !memcmp(value, "false", 5);
            bool *field = size == 5 && !memcmp(key, "pause", 5)    ? &pause
                          : size == 6 && !memcmp(key, "resume", 6) ? &resume
                          : size == 4 && !memcmp(key, "stop", 4)   ? &stop
                                                                   : NULL;
            if (field) *field = yes, sound &= yes || no;
            at = space(at);
            if (*at == ',') at = space(at + 1);
        }
    }
    free(text);
    if (!sound) return;
    if (pause) paused = true, say(&ctrl_out, "{\"kind\":\"pause_ack\"}");
    if (resume) paused = false, say(&ctrl_out, "{\"kind\":\"resume_ack\"}");
    if (stop) stopping = true;
}

/* --- Frames in ---------------------------------------------------------------------------------------------------- */

/* Cut a frame into its payload, or fail: 2.1, 10.1. */
static Bytes payload_of(Bytes raw) {
    uint32_t topic = raw.size >= 4 ? read_u32(raw.at) : 0;
    if (raw.size < 4 || topic > TOPIC_MAX || 4 + (size_t)topic > raw.size) fail("malformed", "a frame without a topic");
    return (Bytes){raw.at + 4 + topic, raw.size - 4 - topic};
}

/* Cut a message into header (none if it is bare) and JSON. */
static Bytes json_of(Bytes payload, Bytes *header) {
    *header = (Bytes){0};
    if (payload.at[0] != TRACED) return payload;
    size_t size = payload.size >= HEADER ? HEADER + 8 * (size_t)payload.at[HEADER - 1] : SIZE_MAX;
    if (size > payload.size) fail("malformed", "a header that is cut");
    *header = (Bytes){payload.at, size};
    return (Bytes){payload.at + size, payload.size - size};
}

static bool on_data(Bytes payload) { /* whether it was the end */
    if (!payload.size) return true;
    if (payload.at[0] == MARKER) {
        forward(payload);
    } else if (payload.at[0] == BATCH) {
        fail("malformed", "a batch inside of a batch");
    } else {
        Bytes header, json = json_of(payload, &header);
        do_message(header, json);
    }
    return false;
}

static bool on_control(Bytes payload) {
    Bytes header;
    if (!payload.size) return true;
    if (payload.at[0] == MARKER) send_frame(&ctrl_out, payload);
    else obey(json_of(payload, &header));
    return false;
}

static Bytes receive(Port *port, zmq_msg_t *message) {
    zmq_msg_init(message);
    if (zmq_msg_recv(message, port->socket, 0) < 0) fail("receive", zmq_strerror(zmq_errno()));
    return (Bytes){zmq_msg_data(message), zmq_msg_size(message)};
}

/* --- The loop ----------------------------------------------------------------------------------------------------- */

static zmq_msg_t batch_message; /* what is left of a batch while the worker is paused in the middle of it */
static Bytes batch;
static unsigned batch_frames;

static Bytes next_of_batch(void) {
    uint32_t size = batch.size >= 4 ? read_u32(batch.at) : 0;
    if (batch.size < 4 || size > batch.size - 4) fail("malformed", "a batch that is cut");
    if (++batch_frames > BATCH_FRAMES_MAX) fail("malformed", "a batch of too many frames");
    Bytes found = {batch.at + 4, size};
    batch = (Bytes){batch.at + 4 + size, batch.size - 4 - size};
    return found;
}

static bool take_data(void) { /* one frame, of the batch or the socket; whether it was the end */
    zmq_msg_t message;
    if (!batch.size) {
        Bytes raw = receive(&data_in, &message);
        if (raw.size < 5 || memcmp(raw.at, "\0\0\0\0\3", 5)) {
            bool ended = on_data(payload_of(raw));
            zmq_msg_close(&message);
            return ended;
        }
        zmq_msg_init(&batch_message);
        zmq_msg_move(&batch_message, &message);
        zmq_msg_close(&message);
        batch = (Bytes){(const uint8_t *)zmq_msg_data(&batch_message) + 5, zmq_msg_size(&batch_message) - 5};
        batch_frames = 0;
        if (!batch.size) zmq_msg_close(&batch_message); /* nothing is in it */
        return false;
    }
    if (on_data(payload_of(next_of_batch()))) fail("malformed", "an end inside of a batch");
    if (!batch.size) zmq_msg_close(&batch_message);
    return false;
}

static bool is_readable(Port *port) {
    int events;
    size_t size = sizeof events;
    return zmq_getsockopt(port->socket, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN);
}

static void serve(int parent) {
    bool input_open = true, output_open = true, control_open = true;
    while (output_open || control_open) {
        bool takes = output_open && input_open && !paused && !stopping;
        if (output_open && (!input_open || stopping)) { /* 5.3: 3 comes before the end of ctrl_in; 5.4 */
            flush();
            send_frame(&data_out, (Bytes){0});
            output_open = false;
        } else if (control_open && is_readable(&ctrl_in)) {
            zmq_msg_t message;
            if (on_control(payload_of(receive(&ctrl_in, &message)))) control_open = paused = false;
            zmq_msg_close(&message);
        } else if (takes && (batch.size || is_readable(&data_in))) {
            input_open = !take_data();
        } else {
            flush();
            zmq_pollitem_t items[3];
            int waits = 0;
            if (parent >= 0) items[waits++] = (zmq_pollitem_t){NULL, parent, ZMQ_POLLIN, 0};
            if (control_open) items[waits++] = (zmq_pollitem_t){ctrl_in.socket, 0, ZMQ_POLLIN, 0};
            if (takes) items[waits++] = (zmq_pollitem_t){data_in.socket, 0, ZMQ_POLLIN, 0};
            if (zmq_poll(items, waits, -1) < 0) fail("poll", zmq_strerror(zmq_errno()));
            if (parent >= 0 && items[0].revents) exit(1); /* the coordinator is dead (1.4) */
        }
    }
}

static void open_port(void *context, Port *port, const char *variable, int type) {
    const char *endpoint = getenv(variable);
    if (!endpoint) return;
    int forever = -1, unbounded = 0;
    int64_t most = FRAME_MAX;
    port->socket = zmq_socket(context, type);
    zmq_setsockopt(port->socket, ZMQ_LINGER, &forever, sizeof forever);        /* 5.3: 7 */
    zmq_setsockopt(port->socket, ZMQ_SNDHWM, &unbounded, sizeof unbounded);    /* 1.3 */
    zmq_setsockopt(port->socket, ZMQ_MAXMSGSIZE, &most, sizeof most);
    if ((type == ZMQ_PULL ? zmq_connect : zmq_bind)(port->socket, endpoint)) fail("endpoint", zmq_strerror(zmq_errno()));
}

int main(int count, char **words) {
    for (int i = 1; i < count; i++) {
        if (!strcmp(words[i], "-t")) tell = true;
        else if (!strcmp(words[i], "-c") && i + 1 < count) die_before = words[++i];
        else if (!strcmp(words[i], "-d") && i + 1 < count) die_after = words[++i];
        else what = words[i];
    }
    if (getenv("FABRIC_WORKER")) name = getenv("FABRIC_WORKER");
    void *context = zmq_ctx_new();
    open_port(context, &data_in, "PLUMB_ENDPOINT_INPUT", ZMQ_PULL);
    open_port(context, &data_out, "PLUMB_ENDPOINT_OUTPUT", ZMQ_PUSH);
    open_port(context, &ctrl_in, "PLUMB_ENDPOINT_CTRL_IN", ZMQ_PULL);
    open_port(context, &ctrl_out, "PLUMB_ENDPOINT_CTRL_OUT", ZMQ_PUSH);
    open_port(context, &telemetry, "PLUMB_ENDPOINT_TELEMETRY", ZMQ_PUSH);
    if (!data_in.socket || !data_out.socket || !ctrl_in.socket || !ctrl_out.socket)
        fail("configuration", "PLUMB_ENDPOINT_INPUT and its like are not set: this program is started by a fabric");
    say(&ctrl_out, "{\"status\":\"ready\",\"features\":[\"mark_all_ports\",\"batches\",\"numbered\"]}"); /* 3.1 */
    serve(getenv("FABRIC_PARENT_FD") ? atoi(getenv("FABRIC_PARENT_FD")) : -1);
    Port *ports[] = {&ctrl_out, &telemetry}; /* 5.3: 6 */
    for (size_t i = 0; i < 2; i++) send_frame(ports[i], (Bytes){0});
    Port *all[] = {&data_in, &data_out, &ctrl_in, &ctrl_out, &telemetry};
    for (size_t i = 0; i < 5; i++)
        if (all[i]->socket) zmq_close(all[i]->socket);
    zmq_ctx_term(context); /* waits until the last frame has left */
    return 0;
}
