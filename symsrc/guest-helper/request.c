#include <string.h>

#include "symsrc/guest-helper/guest.h"

/* From then on changes of it are told. */
static bool send_state(struct port *p)
{
	p->pushes = true;
	state_read(p->state);
	memcpy(port_payload(p), p->state, PORT_STATE_LEN);
	return port_send(p, PORT_STATE, PORT_STATE_LEN);
}

/* names: words with blanks between them. */
static void get(struct port *p, char *names)
{
	bool good = true;
	char *name;

	if (!send_state(p))
		return;
	while ((name = strsep(&names, " "))) {
		int file = files_find(name);

		if (!*name)
			continue;
		if (!file) {
			port_send_text(p, PORT_FAILED, "get: there is no file of that name");
			return;
		}
		if (!files_send(p, (enum port_file)file, &good) || !good)
			return;
	}
	port_send(p, PORT_END, 0);
	p->have_count = 0;
}

static void begin_session(struct port *p)
{
	p->session = p->wanted;
	p->wanted = 0;
	p->count = 0;
	p->pushes = false;
	*port_payload(p) = PORT_VERSION;
	port_send(p, PORT_HELLO, 1);
}

void request_serve(struct port *p)
{
	char line[PORT_LINE_MAX];

	while (p->wanted)
		begin_session(p);
	if (!p->has_request)
		return;
	p->has_request = false;
	if (!p->session)
		return;
	memcpy(line, p->request, sizeof(line)); /* the next one may come while this is answered */
	if (strcmp(line, "state") == 0)
		send_state(p);
	else if (strcmp(line, "get") == 0 || strncmp(line, "get ", 4) == 0)
		get(p, line + 3);
	else
		port_send_text(p, PORT_FAILED, "that is no request");
}

void request_push(struct port *p)
{
	uint8_t now[PORT_STATE_LEN];

	if (!p->session || !p->pushes)
		return;
	state_read(now);
	if (memcmp(now, p->state, sizeof(now)) != 0)
		send_state(p);
}
