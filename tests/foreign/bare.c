/* The least that a worker in C can be: it gives back what it gets, and knows of nothing but §1 to §5 of
 * fabric/wire/PROTOCOL.md. For a binding with  frames: "bare".
 *
 *     cc -O2 -std=c11 -o bare bare.c -lzmq
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

static void *port(void *context, const char *variable, int type) {
    void *socket = zmq_socket(context, type);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &(int){0}, sizeof(int));
    const char *endpoint = getenv(variable);
    if (endpoint && !(type == ZMQ_PULL ? zmq_connect : zmq_bind)(socket, endpoint)) return socket;
    fprintf(stderr, "{\"error\":\"%s is %s\",\"code\":\"configuration\"}\n", variable,
            endpoint ? "no endpoint that can be used" : "not set: this program is started by a fabric");
    exit(1);
}

static size_t read_frame(void *socket, zmq_msg_t *frame) { /* returns the size of its payload: 0 is the end */
    zmq_msg_recv(frame, socket, 0);
    const uint8_t *at = zmq_msg_data(frame);
    return zmq_msg_size(frame) - 4 - ((size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3]);
}

int main(void) {
    void *context = zmq_ctx_new();
    void *data_in = port(context, "PLUMB_ENDPOINT_INPUT", ZMQ_PULL);
    void *ctrl_in = port(context, "PLUMB_ENDPOINT_CTRL_IN", ZMQ_PULL);
    void *data_out = port(context, "PLUMB_ENDPOINT_OUTPUT", ZMQ_PUSH);
    void *ctrl_out = port(context, "PLUMB_ENDPOINT_CTRL_OUT", ZMQ_PUSH);
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    zmq_send(ctrl_out, "\0\0\0\4bare{\"status\":\"ready\"}", 26, 0);
    while (read_frame(data_in, &frame)) /* a message or a marker: back it goes, whoever it says that it is from */
        zmq_msg_send(&frame, data_out, 0);
    zmq_send(data_out, "\0\0\0\4bare", 8, 0);
    while (read_frame(ctrl_in, &frame)) {}
    zmq_send(ctrl_out, "\0\0\0\4bare", 8, 0);
    zmq_msg_close(&frame);
    void *all[] = {data_in, ctrl_in, data_out, ctrl_out};
    for (int i = 0; i < 4; i++) zmq_close(all[i]); /* ZMQ_LINGER is -1 by itself */
    zmq_ctx_term(context);
    return 0;
}
