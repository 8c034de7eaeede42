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

/* names: words with blanks between them. False: that was all of the answer. */
static bool get(struct port *p, char *names)
{
	bool good = true;
	char *name;

	while ((name = strsep(&names, " "))) {
		int file = files_find(name);

		if (!*name)
			continue;
		if (!file) {
			port_send_text(p, PORT_FAILED, "get: there is no file of that name");
			return false;
		}
		if (!files_send(p, (enum port_file)file, &good) || !good)
			return false;
	}
	p->have_count = 0;
	return true;
}

static bool list(struct port *p, char *release)
{
	bool good = true;

	return modfiles_list(p, release, &good) && good;
}

static bool read_file(struct port *p, char *words)
{
	bool good = true;

	return modfiles_read(p, words, &good) && good;
}

static const struct request {
	const char *word;
	bool (*serve)(struct port *p, char *words);
} requests[] = {{"get", get}, {"list", list}, {"read", read_file}};

static void serve(struct port *p, char *line)
{
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		size_t n = strlen(requests[i].word);

		if (strncmp(line, requests[i].word, n) != 0 || (line[n] && line[n] != ' '))
			continue;
		if (send_state(p) && requests[i].serve(p, line + n + (line[n] == ' ')))
			port_send(p, PORT_END, 0);
		return;
	}
	port_send_text(p, PORT_FAILED, "that is no request");
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
	else
		serve(p, line);
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
